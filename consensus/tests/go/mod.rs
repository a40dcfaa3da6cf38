//! The log against the Go reference, from which its formats were drawn: `golang.org/x/mod/sumdb/tlog` and `…/note`, as
//! Debian packs them (`golang-go`, `golang-golang-x-mod-dev`).
//!
//! The reference is asked while the test runs, through the small program beside this file; nothing that it once said is
//! kept. Where it and this project differ on purpose, the test names the case and why; any other difference fails.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use warifu_consensus::log::Digest;

mod note_forms;
mod notes;
mod refusals;
mod tiles;
mod trees;

/// What the reference said, or why it refused.
type Answer = Result<Value, String>;

/// The reference, running.
struct Go {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Go {
    fn start() -> Self {
        let path = env::var("GOPATH").ok();
        let path = path.map_or_else(String::new, |path| format!("{path}:"));
        let mut child = Command::new("go")
            .args(["run", "."])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go"))
            // Debian's packages are source below a GOPATH, not modules.
            .env("GO111MODULE", "off")
            .env("GOPATH", format!("{path}/usr/share/gocode"))
            .env("GOFLAGS", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("go runs: apt-get install golang-go golang-golang-x-mod-dev");
        let from = BufReader::new(child.stdout.take().unwrap());
        let to = child.stdin.take();
        Self { child, to, from }
    }

    /// Answers to requests, in their order.
    fn ask_all(&mut self, requests: Vec<Value>) -> Vec<Answer> {
        let asked = requests.len();
        let mut line = Value::from(requests).to_string();
        line.push('\n');
        let to = self.to.as_mut().unwrap();
        let mut answers = String::new();
        let said = to.write_all(line.as_bytes());
        let heard = said.and_then(|()| self.from.read_line(&mut answers));
        heard.expect("the reference listens: is golang-golang-x-mod-dev installed?");
        let answers: Vec<Value> = serde_json::from_str(&answers)
            .expect("the reference answers: is golang-golang-x-mod-dev installed?");
        assert_eq!(answers.len(), asked);
        let verdict = |answer: Value| match answer.get("error") {
            Some(why) => Err(why.as_str().unwrap().to_owned()),
            None => Ok(answer),
        };
        answers.into_iter().map(verdict).collect()
    }

    fn ask(&mut self, request: Value) -> Answer {
        self.ask_all(vec![request]).remove(0)
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        // It ends at the end of its input.
        drop(self.to.take());
        let ended = self.child.wait();
        if !std::thread::panicking() {
            assert!(ended.unwrap().success());
        }
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    Base64::encode_string(bytes.as_ref())
}

fn hashes(proof: &[Digest]) -> Value {
    proof.iter().map(b64).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    Base64::decode_vec(value.as_str().unwrap()).unwrap()
}

fn digest(value: &Value) -> Digest {
    bytes(value).try_into().unwrap()
}

fn digests(values: &Value) -> Vec<Digest> {
    // A Go slice that nothing was put into is null.
    let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
    values.iter().map(digest).collect()
}
