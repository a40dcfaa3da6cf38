//! The log's pages and an account's chain in a real browser: headless Chromium, without scripts, in both languages.
//!
//! Spoken to over a pipe in its own protocol (Chrome DevTools Protocol), so that nothing but the browser is needed. With
//! `WARIFU_SCREENSHOTS=DIR` what was seen is left there as pictures.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use warifu_node::{
    api::{self, Limits, Live},
    log_http::LogListener,
    secrets::{Caller, Scope, Tokens, token_hash},
};

use super::*;

const TOKEN: &str = "warifu-token-of-a-page";

/// A browser with one page.
struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: String,
    next: u64,
    /// What the browser complained of: the policy, scripts, failed loads.
    complaints: Vec<String>,
    shots: Option<PathBuf>,
    _dir: TempDir,
}

impl Browser {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let pipe = |name: &str| {
            let path = dir.path().join(name);
            let made = Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
            path
        };
        let (to, from) = (pipe("to"), pipe("from"));
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        // The browser reads what it is told at descriptor 3, and answers at 4.
        let child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<\"$TO\" 4>\"$FROM\"", "sh"])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
            ])
            .args([
                "--no-first-run",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                &profile,
            ])
            .env("TO", &to)
            .env("FROM", &from)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = BufReader::new(File::open(from).unwrap());
        let mut browser = Self {
            child,
            to,
            from,
            session: String::new(),
            next: 0,
            complaints: Vec::new(),
            shots: std::env::var_os("WARIFU_SCREENSHOTS").map(PathBuf::from),
            _dir: dir,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = target["targetId"].clone();
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Log", "Runtime", "Audits", "Network", "DOM", "CSS"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call(
            "Emulation.setScriptExecutionDisabled",
            json!({ "value": true }),
        );
        browser
    }

    /// The next message; none once the browser is gone.
    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(
            bytes.pop(),
            Some(0),
            "the browser is gone: is chromium installed?"
        );
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let what = message["method"].as_str().unwrap_or_default();
        if [
            "Log.entryAdded",
            "Runtime.exceptionThrown",
            "Audits.issueAdded",
        ]
        .contains(&what)
        {
            self.complaints.push(message["params"].to_string());
        }
        message
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(message.to_string().as_bytes()).unwrap();
        self.to.write_all(&[0]).unwrap();
        loop {
            let mut message = self.read();
            if message["id"] == json!(id) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
        }
    }

    fn until(&mut self, event: &str) {
        while self.read()["method"] != event {}
    }

    fn open(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.until("Page.loadEventFired");
    }

    /// What an expression gives in the page; the page's own scripts stay off.
    fn look(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    fn text(&mut self) -> String {
        self.look("document.body.innerText")
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The browser's window: width and height in pixels of a phone or a desk, and light or dark.
    fn window(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    fn headers(&mut self, headers: Value) {
        self.call("Network.setExtraHTTPHeaders", json!({ "headers": headers }));
    }

    fn shoot(&mut self, name: &str) {
        let Some(dir) = self.shots.clone() else {
            return;
        };
        let shot = self.call(
            "Page.captureScreenshot",
            json!({ "captureBeyondViewport": true }),
        );
        let bytes = Base64::decode_vec(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Types into a field as a person pastes.
    fn paste(&mut self, field: &str, text: &str) {
        self.look(&format!("document.querySelector('[name={field}]').focus()"));
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Clicks where a thing is.
    fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView();
               const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let place = self.look(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// The fonts that draw an element.
    fn fonts(&mut self, selector: &str) -> String {
        let root = self.call("DOM.getDocument", json!({}))["root"]["nodeId"].clone();
        let query = json!({ "nodeId": root, "selector": selector });
        let node = self.call("DOM.querySelector", query)["nodeId"].clone();
        self.call("CSS.getPlatformFontsForNode", json!({ "nodeId": node }))
            .to_string()
    }

    /// Readable: nothing wider than the window, no small type, contrast of WCAG's level AA, and no complaint so far.
    fn is_readable(&mut self, what: &str) {
        let wide = self.look("document.documentElement.scrollWidth - window.innerWidth");
        assert!(
            wide.as_i64().unwrap() <= 0,
            "{what} is {wide} pixels too wide"
        );
        let small = self.look(SMALLEST);
        assert!(
            small.as_f64().unwrap() >= 14.0,
            "{what} has type of {small} px"
        );
        let least = self.look(LEAST_CONTRAST);
        assert!(
            least[0].as_f64().unwrap() >= 4.5,
            "{what}: contrast {least}"
        );
        assert_eq!(self.complaints, Vec::<String>::new(), "{what}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const SMALLEST: &str = "Math.min(...[...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .map(e => parseFloat(getComputedStyle(e).fontSize)))";

/// The least contrast (WCAG 2.1, 1.4.3) of a text with what is behind it, and that text.
const LEAST_CONTRAST: &str = "(() => {
    const parse = c => (c.match(/[0-9.]+/g) || []).map(Number);
    const light = c => { const [r, g, b] = parse(c).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (parse(c)[3] !== 0) return c; } return 'rgb(255, 255, 255)'; };
    let least = [99, ''];
    for (const e of document.querySelectorAll('body *')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < least[0]) least = [ratio, e.textContent.slice(0, 40)];
    }
    return least;
})()";

/// Both operators' logs served, and the broker's HTTP side.
struct Pages {
    logs: [LogListener; 2],
    api: String,
    receipt: String,
    proof: String,
    account: Sub,
    account_key: String,
}

async fn pages(net: &Net) -> Pages {
    let device = net.device("device").await;
    let (account, account_key) = net.enrol(&device).await;
    let mut last = None;
    for _ in 0..3 {
        let began = net.begin(account, Kind::Login).await.unwrap();
        device
            .approve(asked(&device).await, began.number)
            .await
            .unwrap();
        last = Some(net.outcome(&began).await);
    }
    let Some(Outcome::Admitted(sealed)) = last else {
        panic!("{last:?}");
    };
    let proof = net.broker.proof(&sealed, PATIENCE).await.unwrap().unwrap();
    let frozen = net.broker.freeze(account).await.unwrap();
    assert!(matches!(frozen, Frozen::Sealed(_)));
    let mut logs = Vec::new();
    for side in [net.broker.log_side(), net.trust_operator.log_side()] {
        let mut log = LogListener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        log.serve(side);
        logs.push(log);
    }
    let tokens = Tokens::new(vec![Caller {
        name: CALLER.to_owned(),
        aud: AUD.to_owned(),
        scopes: vec![Scope::History],
        hash: token_hash(TOKEN),
    }]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let desk = Arc::new(net.broker.clone());
    let router = api::router_with(desk, Arc::new(Live::new(tokens)), Limits::default());
    tokio::spawn(api::serve(listener, router, std::future::pending()));
    device.stop().await;
    Pages {
        logs: logs.try_into().unwrap_or_else(|_| panic!("two logs")),
        api,
        receipt: sealed.to_json(),
        proof: proof.to_string(),
        account,
        account_key: text_b64(&account_key),
    }
}

fn seen(pages: &Pages) {
    let mut browser = Browser::start();
    let [broker, trust_operator] = pages.logs.each_ref().map(LogListener::url);
    for (at, url) in [("broker", &broker), ("trust operator", &trust_operator)] {
        for (width, scheme) in [(360, "light"), (1000, "dark")] {
            browser.window(width, 740, scheme);
            browser.open(&format!("{url}/"));
            let text = browser.text();
            assert!(text.contains(&format!("This is the {at}'s copy")), "{text}");
            assert!(
                text.contains("entries") && text.contains("log.example"),
                "{text}"
            );
            browser.is_readable("/");
            browser.shoot(&format!("log-{width}-{scheme}"));
        }
    }
    browser.window(360, 740, "light");
    browser.headers(json!({ "Accept-Language": "ja,en;q=0.5" }));
    browser.open(&format!("{broker}/"));
    let text = browser.text();
    assert!(text.contains("最新のチェックポイント"), "{text}");
    let fonts = browser.fonts("h1");
    assert!(
        fonts.contains("CJK"),
        "no Japanese font, install fonts-noto-cjk: {fonts}"
    );
    browser.is_readable("/ in Japanese");
    browser.shoot("log-ja");
    browser.click("header a[lang=en]");
    browser.until("Page.loadEventFired");
    assert!(browser.text().contains("The latest checkpoint"));
    browser.headers(json!({}));
    verifies(&mut browser, pages, &trust_operator);
    browser.headers(json!({ "Authorization": format!("Bearer {TOKEN}") }));
    for (language, scheme) in [("en", "dark"), ("ja", "light")] {
        browser.window(360, 740, scheme);
        let chain = format!(
            "{}/v1/accounts/{}/chain?lang={language}",
            pages.api, pages.account
        );
        browser.open(&chain);
        let links = browser.look("document.querySelectorAll('.block a').length");
        let blocks = browser.look("document.querySelectorAll('.block').length");
        assert_eq!((links, blocks), (json!(4), json!(5)));
        browser.is_readable("the chain");
        browser.shoot(&format!("chain-{language}"));
    }
}

/// A real receipt is pasted and verified; then one with a digit changed, which is not.
fn verifies(browser: &mut Browser, pages: &Pages, url: &str) {
    let spoilt = pages.proof.replacen("index ", "index 9", 1);
    for (language, proof, key, expected) in [
        (
            "en",
            &pages.proof,
            pages.account_key.as_str(),
            "It holds as far as it was checked.",
        ),
        (
            "ja",
            &pages.proof,
            pages.account_key.as_str(),
            "確認できた範囲では有効です。",
        ),
        ("en", &pages.proof, "", "It holds as far as it was checked."),
        (
            "en",
            &spoilt,
            pages.account_key.as_str(),
            "It does not hold.",
        ),
    ] {
        browser.open(&format!("{url}/receipt?lang={language}"));
        browser.is_readable("the form");
        browser.paste("receipt", &pages.receipt);
        browser.paste("proof", proof);
        browser.paste("account_key", key);
        browser.click("button");
        browser.until("Page.loadEventFired");
        let verdict = browser.look("document.querySelector('#verdict').innerText");
        let verdict = verdict.as_str().unwrap();
        assert!(
            verdict.starts_with(expected),
            "{verdict}, expected {expected}"
        );
        browser.is_readable("the verdict");
        browser.shoot(&format!("receipt-{language}-{}", expected.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Debian's chromium and fonts-noto-cjk: scripts/check --all runs it"]
async fn pages_are_shown_verified_and_read_without_scripts() {
    let net = net().await;
    let pages = pages(&net).await;
    tokio::task::block_in_place(|| seen(&pages));
    net.broker.stop().await;
    net.trust_operator.stop().await;
}
