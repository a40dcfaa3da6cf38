//! A broker of scripted answers, down to the connection: it can lose an answer, halve it, or never
//! give one.

#![allow(unreachable_pub, reason = "shared by the modules beside it")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use warifu_client_sdk::login_service::problem::{Problem, ProblemKind};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method and path without the query, such as `GET /v1/logins/x`.
    pub line: String,
    pub body: Value,
}

impl Request {
    pub fn is(&self, line: &str) -> bool {
        self.line.starts_with(line)
    }
}

/// What becomes of a request.
pub enum Reply {
    Json(u16, Value),
    /// With one more header.
    With(u16, &'static str, Value),
    /// The connection is closed before the answer.
    Lost,
    /// The connection is closed in the middle of the answer.
    Half,
    /// Nothing, and the connection stays open.
    Never,
}

impl Reply {
    pub fn problem(kind: ProblemKind) -> Reply {
        let problem = serde_json::to_value(Problem::new(kind, "as scripted")).unwrap();
        Reply::Json(kind.status(), problem)
    }
}

type Script = Box<dyn FnMut(&Request) -> Reply + Send>;

struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Request>>,
    connections: AtomicU32,
}

pub struct Fake {
    pub url: String,
    shared: Arc<Shared>,
}

impl Fake {
    pub async fn open(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            connections: AtomicU32::new(0),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Fake { url, shared }
    }

    /// How many requests came whose line begins so.
    pub fn count(&self, line: &str) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().filter(|request| request.is(line)).count()
    }

    pub fn connections(&self) -> u32 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until such a request came.
    pub async fn saw(&self, line: &str) {
        for _ in 0..200 {
            if self.count(line) > 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("no {line} in 2 s");
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        shared.seen.lock().unwrap().push(request.clone());
        let reply = (shared.script.lock().unwrap())(&request);
        let (status, header, body) = match reply {
            Reply::Json(status, body) => (status, "x-none: 0", body.to_string()),
            Reply::With(status, header, body) => (status, header, body.to_string()),
            Reply::Lost => return,
            Reply::Half => {
                let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\":\"adm";
                stream.write_all(half.as_bytes()).await.ok();
                return;
            }
            Reply::Never => std::future::pending().await,
        };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} .\r\ncontent-length: {length}\r\n{header}\r\n\r\n{body}");
        let answer = if status == 204 {
            "HTTP/1.1 204 .\r\n\r\n".to_owned()
        } else {
            answer
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?;
    let line = format!("{method} {path}");
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Request { line, body })
}
