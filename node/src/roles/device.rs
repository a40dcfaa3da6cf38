//! A running device: the SDK's device, answered for on its control channel, and on its terminal
//! where somebody is there. Both ask and take answers at once; the first answer counts.

mod input;
pub(crate) mod reply;
mod terminal;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::broadcast::error::RecvError;
use warifu_client_sdk::{
    device::{
        self, Decision, Device, DeviceError, DeviceEvent, DeviceOptions, EnrolStage, Enrolling,
    },
    transport::Limits,
};
use warifu_consensus::{
    encoding::{Hash, parse_b64, text_b64},
    enrol::Ticket,
    party::{Role, Sub},
};

use crate::{
    config::{Config, DeviceConfig},
    control::{
        self, AccountView, Answer, ControlError, ControlHandler, DecisionState, DecisionView,
        EnrolState, EnrolView, HistoryView, PendingView, RefusalKind, RefusalView, Request,
    },
    output,
    run::node_clock,
    secrets::{self, SecretError},
    words,
};

use terminal::Terminal;

/// How long `device freeze` waits for its block before it answers that the wish stands.
const FREEZE_WAIT: Duration = Duration::from_secs(10);

/// Why a device did not start, or stopped on its own.
#[derive(Debug, thiserror::Error)]
pub enum DeviceRunError {
    /// The device itself.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The master key's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The control channel.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The control channel ended.
    #[error("the control channel ended: {0}")]
    Channel(std::io::Error),
    /// Standard output is gone, or threads can't be had.
    #[error("{0}")]
    Io(std::io::Error),
    /// Keeping what must be kept failed.
    #[error("stopped, because what must be kept can't be kept: {0}")]
    Ended(String),
}

/// Runs a device until `shutdown` is ready.
///
/// # Errors
/// [`DeviceRunError`].
pub async fn run(
    config: Config,
    own: DeviceConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), DeviceRunError> {
    let listener = control::listen(&own.control).await?;
    let device = Device::start(DeviceOptions {
        dir: config.node.data.clone(),
        master_key: secrets::read_master_key(&config.node.master_key)?,
        ledger: config.ledger.clone(),
        log_keys: config.log_keys.clone(),
        clock: node_clock(),
        // One customer's decisions: signing needs no threads of its own.
        signing: tokio::runtime::Handle::current(),
        limits: Limits::default(),
    })
    .await?;
    let mut events = device.events();
    let handler = Arc::new(Handler {
        device: device.clone(),
    });
    let path = own.control.display().to_string();
    output::ready(Role::Device, &[("control", &path)]).map_err(DeviceRunError::Io)?;
    let asking = Terminal::open(own.language).map(|terminal| {
        tracing::debug!("somebody is at the terminal");
        tokio::spawn(terminal.run(device.clone()))
    });
    let failed = async {
        loop {
            match events.recv().await {
                Ok(DeviceEvent::Failed { reason }) => return reason,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        reason = failed => Err(DeviceRunError::Ended(reason)),
        served = control::serve(listener, handler) => served.map_err(DeviceRunError::Channel),
    };
    if let Some(asking) = asking {
        asking.abort();
        // Cancelled is what it is meant to be; its last line is ended either way.
        drop(asking.await);
    }
    device.stop().await;
    if let Err(error) = std::fs::remove_file(&own.control) {
        tracing::debug!(%error, "control socket not removed");
    }
    ended
}

struct Handler {
    device: Device,
}

fn refused(kind: RefusalKind, reason: impl ToString) -> Answer {
    Answer::Refused(RefusalView {
        kind,
        reason: reason.to_string(),
        reason_ja: None,
    })
}

fn failed(error: &DeviceError) -> Answer {
    let kind = match error {
        DeviceError::NoProposal { .. } | DeviceError::NoAccount { .. } => RefusalKind::Unknown,
        DeviceError::Number { .. } | DeviceError::Address { .. } => RefusalKind::Malformed,
        _ => RefusalKind::Rule,
    };
    let (ja, en) = words::device_error(error);
    Answer::Refused(RefusalView {
        kind,
        reason: en,
        reason_ja: Some(ja),
    })
}

fn hash(text: &str) -> Result<Hash, Answer> {
    text.parse().map_err(|e| {
        refused(
            RefusalKind::Malformed,
            format!("`{text}` names no proposal: {e}"),
        )
    })
}

fn account(text: &str) -> Result<Sub, Answer> {
    text.parse().map_err(|e| {
        refused(
            RefusalKind::Malformed,
            format!("`{text}` names no account: {e}"),
        )
    })
}

fn enrol_view(enrolling: &Enrolling) -> EnrolView {
    let stage = enrolling.stage.borrow().clone();
    let session = text_b64(&enrolling.session);
    let (state, digits, account, reason) = match stage {
        EnrolStage::Running => (EnrolState::Running, None, None, None),
        EnrolStage::Digits(digits) => (EnrolState::Digits, Some(digits.to_string()), None, None),
        EnrolStage::Founded(sub) => (EnrolState::Done, None, Some(sub.to_string()), None),
        EnrolStage::Failed(reason) => (EnrolState::Failed, None, None, Some(reason)),
    };
    EnrolView {
        session,
        state,
        digits,
        account,
        reason,
    }
}

impl ControlHandler for Handler {
    async fn answer(&self, request: Request) -> Answer {
        let answered = match request {
            Request::Enrol { uri } => self.enrol(&uri).await,
            Request::Enrolment { session } => self.enrolment(&session),
            Request::Accounts => self.accounts().await,
            Request::Pending => Ok(self.pending()),
            Request::Approve { proposal, number } => self.approve(&proposal, number).await,
            Request::Deny { proposal, not_me } => self.deny(&proposal, not_me).await,
            Request::Freeze { account } => self.freeze(&account).await,
            Request::Erase { account } => self.erase(&account).await,
            Request::History { account } => self.history(&account),
        };
        answered.unwrap_or_else(|refusal| refusal)
    }
}

impl Handler {
    async fn enrol(&self, uri: &str) -> Result<Answer, Answer> {
        let ticket = Ticket::from_uri(uri).map_err(|error| {
            let (ja, en) = words::ticket_error(&error);
            Answer::Refused(RefusalView {
                kind: RefusalKind::Malformed,
                reason: en,
                reason_ja: Some(ja),
            })
        })?;
        let enrolling = self.device.enrol(&ticket).await.map_err(|e| failed(&e))?;
        Ok(Answer::Enrolment(enrol_view(&enrolling)))
    }

    fn enrolment(&self, session: &str) -> Result<Answer, Answer> {
        let wanted = parse_b64::<32>(session)
            .map_err(|e| refused(RefusalKind::Malformed, format!("session: {e}")))?;
        self.device
            .enrolments()
            .iter()
            .rev()
            .find(|e| e.session == wanted)
            .map(|e| Answer::Enrolment(enrol_view(e)))
            .ok_or_else(|| refused(RefusalKind::Unknown, "no such enrolment on this device"))
    }

    async fn accounts(&self) -> Result<Answer, Answer> {
        let accounts = self.device.accounts().await.map_err(|e| failed(&e))?;
        let views = accounts.into_iter().map(|a| AccountView {
            account: a.sub.to_string(),
            status: a
                .status
                .map_or_else(|| "founding".to_owned(), |s| s.to_string()),
            height: a.head.map(|h| h.height),
            head: a.head.map(|h| h.hash.to_string()),
            broker_line: a.broker_line,
        });
        Ok(Answer::Accounts(views.collect()))
    }

    fn pending(&self) -> Answer {
        Answer::Pending(self.device.pending().iter().map(view).collect())
    }

    async fn approve(&self, proposal: &str, number: u8) -> Result<Answer, Answer> {
        let named = hash(proposal)?;
        let sub = self.account_of(&named)?;
        let decision = self
            .device
            .approve(named, number)
            .await
            .map_err(|e| failed(&e))?;
        Ok(decided(sub, named, decision, DecisionState::Refused))
    }

    async fn deny(&self, proposal: &str, not_me: bool) -> Result<Answer, Answer> {
        let named = hash(proposal)?;
        let sub = self.account_of(&named)?;
        let decision = self
            .device
            .deny(named, not_me)
            .await
            .map_err(|e| failed(&e))?;
        Ok(decided(sub, named, decision, DecisionState::Sent))
    }

    fn account_of(&self, proposal: &Hash) -> Result<Sub, Answer> {
        let pending = self.device.pending();
        pending
            .iter()
            .find(|p| p.prompt.hash == *proposal)
            .map(|p| p.sub)
            .ok_or_else(|| {
                failed(&DeviceError::NoProposal {
                    proposal: *proposal,
                })
            })
    }

    async fn freeze(&self, text: &str) -> Result<Answer, Answer> {
        let sub = account(text)?;
        let mut events = self.device.events();
        self.device.freeze(sub).await.map_err(|e| failed(&e))?;
        let sealed = async {
            loop {
                match events.recv().await {
                    Ok(DeviceEvent::Sealed { sub: about, sealed })
                        if about == sub
                            && sealed.block.claims().kind
                                == warifu_consensus::block::Kind::Freeze =>
                    {
                        return Some(sealed.block.claims().height);
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        let height = tokio::time::timeout(FREEZE_WAIT, sealed)
            .await
            .ok()
            .flatten();
        let state = if height.is_some() {
            DecisionState::Sealed
        } else {
            DecisionState::Sent
        };
        Ok(Answer::Decided(DecisionView {
            account: sub.to_string(),
            proposal: None,
            state,
            height,
            reason: None,
            reason_ja: None,
        }))
    }

    async fn erase(&self, text: &str) -> Result<Answer, Answer> {
        let sub = account(text)?;
        self.device.erase(sub).await.map_err(|e| failed(&e))?;
        Ok(Answer::Erased(sub.to_string()))
    }

    fn history(&self, text: &str) -> Result<Answer, Answer> {
        let sub = account(text)?;
        let entries = self.device.history(sub).map_err(|e| failed(&e))?;
        let views = entries.into_iter().rev().map(|entry| {
            let c = entry.sealed.block.claims();
            let body = entry.body.as_ref();
            HistoryView {
                height: c.height,
                kind: c.kind.name().to_owned(),
                aud: c.aud.clone(),
                iat: c.iat,
                hash: entry.sealed.block.hash().to_string(),
                supersedes: c.supersedes.map(|h| h.to_string()),
                channel: body.map(|b| b.channel.clone()),
                address: body.map(|b| b.address.clone()),
                details: body.map(|b| b.details.clone()).unwrap_or_default(),
            }
        });
        Ok(Answer::History(views.collect()))
    }
}

/// A proposal as commands and the terminal show it.
fn view(pending: &device::PendingView) -> PendingView {
    let body = pending.prompt.body.as_ref();
    let claims = &pending.prompt.claims;
    PendingView {
        proposal: pending.prompt.hash.to_string(),
        account: pending.sub.to_string(),
        kind: claims.kind.name().to_owned(),
        aud: claims.aud.clone(),
        channel: body.map(|b| b.channel.clone()).unwrap_or_default(),
        address: body.map(|b| b.address.clone()).unwrap_or_default(),
        details: body.map(|b| b.details.clone()).unwrap_or_default(),
        reference: body.and_then(|b| b.reference.clone()),
        exp: claims.exp,
        height: claims.height,
    }
}

fn decided(sub: Sub, proposal: Hash, decision: Decision, refused: DecisionState) -> Answer {
    let (state, height, reason) = match decision {
        Decision::Sealed(sealed) => (
            DecisionState::Sealed,
            Some(sealed.block.claims().height),
            None,
        ),
        Decision::Refused(reason) => (refused, None, reason.as_ref().map(words::reason)),
        Decision::Open => (DecisionState::Sent, None, None),
    };
    Answer::Decided(DecisionView {
        account: sub.to_string(),
        proposal: Some(proposal.to_string()),
        state,
        height,
        reason: reason.as_ref().map(|(_, en)| en.clone()),
        reason_ja: reason.map(|(ja, _)| ja),
    })
}
