//! A login that the broker began and that nobody holds yet: it takes itself back unless claimed.

use std::sync::Arc;

use super::api::LoginBegun;
use super::http::Http;

/// What the broker answered to a begin. Dropped unclaimed, because the caller's future was dropped
/// while the request was under way, it cancels the login, so that no customer is asked on behalf of
/// a page that is gone.
pub(super) struct Unclaimed {
    http: Arc<Http>,
    begun: Option<LoginBegun>,
}

impl Unclaimed {
    pub(super) fn new(http: Arc<Http>, begun: LoginBegun) -> Unclaimed {
        Unclaimed {
            http,
            begun: Some(begun),
        }
    }

    pub(super) fn begun(&self) -> Option<&LoginBegun> {
        self.begun.as_ref()
    }

    /// From here on the caller holds it.
    pub(super) fn claim(mut self) -> Option<LoginBegun> {
        self.begun.take()
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let Some(begun) = self.begun.take() else {
            return;
        };
        // Without a runtime the whole process is ending: the proposal expires by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let http = Arc::clone(&self.http);
        runtime.spawn(async move {
            if let (Err(error), _) = http.delete(&["logins", &begun.id]).await {
                tracing::warn!(login = begun.id, %error, "a login that nobody waits for stays open until it expires");
            }
        });
    }
}
