//! A node that must stop by itself: who notices says so once, whoever runs it waits for that.

use std::sync::Arc;

use tokio::sync::watch;

/// A node's own end: told once, watched by its `run`.
#[derive(Clone)]
pub struct Ending {
    sender: Arc<watch::Sender<Option<String>>>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            sender: Arc::new(watch::channel(None).0),
        }
    }
}

impl Ending {
    /// The node must stop; the first reason stands.
    pub fn end(&self, reason: String) {
        self.sender.send_if_modified(|r| {
            let first = r.is_none();
            if first {
                *r = Some(reason);
            }
            first
        });
    }

    /// Waits for the end.
    pub async fn wait(&self) -> String {
        let mut receiver = self.sender.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}
