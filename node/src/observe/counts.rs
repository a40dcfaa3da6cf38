//! What an operator counts as it happens: every counter's name and labels stand here, or in the SDK's
//! store and steps. A label's values are few and fixed.

use axum::http::{Method, StatusCode};
use metrics::{counter, gauge, histogram};
use std::time::Duration;
use warifu_client_sdk::{runtime::outcome_name, transport::Misbehaviour};
use warifu_consensus::{
    agree::{Event, Outcome, Refusal},
    party::Role,
};

use crate::output::role_name;

/// What became of an enrolment session, as its operator saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enrolled {
    /// The broker opened a ticket.
    Opened,
    /// The account's key exists and the share is durable.
    Founded,
    /// It ended without an account.
    Failed,
    /// A hello or an announcement was refused.
    Refused,
    /// Nobody answered the ticket.
    Unanswered,
}

/// Counts a step of an enrolment.
pub fn enrolment(outcome: Enrolled) {
    let name = match outcome {
        Enrolled::Opened => "opened",
        Enrolled::Founded => "founded",
        Enrolled::Failed => "failed",
        Enrolled::Refused => "refused",
        Enrolled::Unanswered => "unanswered",
    };
    counter!("warifu_enrolments_total", "outcome" => name).increment(1);
}

/// Counts the end of something that a login service asked for.
pub fn login_ended(outcome: &Outcome) {
    let (outcome, by) = outcome_name(outcome);
    let by = by.map_or("nobody", role_name);
    counter!("warifu_logins_total", "outcome" => outcome, "by" => by).increment(1);
}

/// What login services asked for and is not ended: one more, or one less.
pub fn open_proposals(change: f64) {
    gauge!("warifu_proposals_open").increment(change);
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// A stranger spoke twice before its ticket was checked.
    Stranger,
    /// The bytes are no message.
    Malformed,
    /// The peer is no party of what the message is about.
    NoParty,
    /// The account is unknown here.
    UnknownAccount,
}

/// Counts a frame that was not taken.
pub fn frame_refused(why: Refused) {
    let reason = match why {
        Refused::Stranger => "stranger",
        Refused::Malformed => "malformed",
        Refused::NoParty => "no-party",
        Refused::UnknownAccount => "unknown-account",
    };
    counter!("warifu_frames_refused_total", "reason" => reason).increment(1);
}

/// Counts a peer that broke a rule of the line and was cut.
pub fn misbehaved(rule: Misbehaviour) {
    let rule = match rule {
        Misbehaviour::OversizeFrame { .. } => "oversize-frame",
        Misbehaviour::SlowFrame => "slow-frame",
        Misbehaviour::SlowReader => "slow-reader",
        Misbehaviour::NoStream => "no-stream",
        Misbehaviour::ExtraStream => "extra-stream",
        Misbehaviour::BadHello { .. } => "bad-hello",
    };
    counter!("warifu_peers_misbehaved_total", "rule" => rule).increment(1);
}

/// Counts a dial to the other operator that failed.
pub fn dial_failed() {
    counter!("warifu_dials_failed_total").increment(1);
}

/// Counts what an operator's machine of any account tells.
pub fn told(event: &Event) {
    match event {
        Event::Sealed(sealed) => {
            let kind = sealed.block.claims().kind.name();
            counter!("warifu_blocks_sealed_total", "kind" => kind).increment(1);
        }
        Event::Fault(fault) => {
            counter!("warifu_faults_total", "culprit" => role_name(fault.culprit)).increment(1);
        }
        Event::Conflict { .. } => counter!("warifu_conflicts_total").increment(1),
        Event::Rejected { from, refusal } => {
            counter!("warifu_messages_rejected_total", "from" => role_name(*from)).increment(1);
            // The machines refuse a head beside their own, and catch up with one that is further.
            if *from != Role::Device
                && matches!(refusal, Refusal::Unfit { message, .. } if message == "head")
            {
                compared("different");
            }
        }
        Event::Compared { .. } => compared("equal"),
        Event::Restored { .. } => counter!("warifu_accounts_restored_total").increment(1),
        _ => {}
    }
}

fn compared(result: &'static str) {
    counter!("warifu_heads_compared_total", "result" => result).increment(1);
}

/// Blocks that are sealed here and have no leaf of the log yet, and how long the oldest has been known.
pub fn log_unlogged(blocks: usize, longest: Duration) {
    gauge!("warifu_log_unlogged_blocks").set(u32::try_from(blocks).map_or(f64::MAX, f64::from));
    gauge!("warifu_log_oldest_unlogged_seconds").set(longest.as_secs_f64());
}

/// Times a block from when the log met it here until both operators signed a checkpoint with its leaf.
pub fn log_cosigned(took: Duration) {
    histogram!("warifu_log_cosign_seconds").record(took);
}

/// Counts what the other operator said about the log and may not say.
pub fn log_fault() {
    counter!("warifu_log_faults_total").increment(1);
}

/// Counts evidence of a fork that was kept.
pub fn log_fork() {
    counter!("warifu_log_forks_total").increment(1);
}

/// Counts and times a request; `route` is the pattern that matched, never the path.
pub fn request(method: &Method, route: String, status: StatusCode, took: Duration) {
    let method = match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    };
    histogram!("warifu_http_request_duration_seconds", "method" => method, "route" => route.clone())
        .record(took);
    let status = status.as_str().to_owned();
    counter!("warifu_http_requests_total", "method" => method, "route" => route, "status" => status)
        .increment(1);
}

/// Zeros for what an alert watches and a good day never counts: a series that only appears with its
/// first bad event has no increase to see.
pub(super) fn begin(role: Role) {
    for from in [Role::Device, Role::Broker, Role::TrustOperator] {
        if from != role {
            counter!("warifu_faults_total", "culprit" => role_name(from)).increment(0);
            counter!("warifu_messages_rejected_total", "from" => role_name(from)).increment(0);
        }
    }
    counter!("warifu_conflicts_total").increment(0);
    counter!("warifu_log_faults_total").increment(0);
    counter!("warifu_log_forks_total").increment(0);
    for result in ["equal", "different"] {
        counter!("warifu_heads_compared_total", "result" => result).increment(0);
    }
    for reason in ["stranger", "malformed", "no-party", "unknown-account"] {
        counter!("warifu_frames_refused_total", "reason" => reason).increment(0);
    }
    for rule in [
        "oversize-frame",
        "slow-frame",
        "slow-reader",
        "no-stream",
        "extra-stream",
        "bad-hello",
    ] {
        counter!("warifu_peers_misbehaved_total", "rule" => rule).increment(0);
    }
    for outcome in ["founded", "failed", "refused"] {
        counter!("warifu_enrolments_total", "outcome" => outcome).increment(0);
    }
    counter!("warifu_dials_failed_total").increment(0);
    counter!("warifu_accounts_restored_total").increment(0);
    if role == Role::Broker {
        open_proposals(0.0);
        for outcome in ["admitted", "expired", "cancelled"] {
            counter!("warifu_logins_total", "outcome" => outcome, "by" => "nobody").increment(0);
        }
        for by in [Role::Device, Role::Broker, Role::TrustOperator] {
            counter!("warifu_logins_total", "outcome" => "refused", "by" => role_name(by))
                .increment(0);
        }
    }
}
