//! The help text of every measure, as `/metrics` gives it.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Describes all measures of a node; docs/operating.md has the same names with what to do about them.
pub(super) fn describe() {
    counters();
    gauges();
    histograms();
    metrics_process::Collector::default().describe();
}

fn counters() {
    let described = [
        (
            "warifu_logins_total",
            "What login services asked for and ended, by outcome and by who refused.",
        ),
        (
            "warifu_blocks_sealed_total",
            "Sealed blocks that became durable here, by kind.",
        ),
        (
            "warifu_enrolments_total",
            "Enrolment sessions, by what became of them.",
        ),
        (
            "warifu_heads_compared_total",
            "Heads compared with the other operator's: equal or different.",
        ),
        (
            "warifu_conflicts_total",
            "Blocks or heads that cannot stand in one chain: the account is frozen, the evidence kept.",
        ),
        (
            "warifu_log_faults_total",
            "What the other operator said about the log and may not say, or what does not hold.",
        ),
        (
            "warifu_log_forks_total",
            "Signed checkpoints that do not fit one log: the evidence is kept.",
        ),
        ("warifu_faults_total", "Provable misdeeds, by culprit."),
        (
            "warifu_messages_rejected_total",
            "Messages that the rules refuse and that changed nothing, by sender.",
        ),
        (
            "warifu_frames_refused_total",
            "Frames that were not taken, by reason.",
        ),
        (
            "warifu_peers_misbehaved_total",
            "Peers that broke a rule of the line and were cut, by rule.",
        ),
        (
            "warifu_dials_failed_total",
            "Dials to the other operator that failed.",
        ),
        (
            "warifu_accounts_restored_total",
            "Accounts that this broker found itself to be a restored copy of.",
        ),
        (
            "warifu_http_requests_total",
            "Answered requests of login services, by method, route and status.",
        ),
        (
            "warifu_journal_syncs_total",
            "fdatasync and fsync calls for the journal.",
        ),
        (
            "warifu_journal_records_total",
            "Records made durable in the journal.",
        ),
        (
            "warifu_journal_bytes_total",
            "Bytes of records written to the journal, framing included.",
        ),
        (
            "warifu_vault_syncs_total",
            "fdatasync and fsync calls for the vault.",
        ),
        (
            "warifu_vault_records_total",
            "Records made durable in the vault.",
        ),
        (
            "warifu_vault_bytes_total",
            "Bytes of records written to the vault, framing included.",
        ),
    ];
    for (name, help) in described {
        describe_counter!(name, help);
    }
}

fn gauges() {
    let described = [
        ("warifu_build_info", "1, with this node's version and role."),
        (
            "warifu_ready",
            "1 while logins are possible as far as this node sees, else 0.",
        ),
        (
            "warifu_store_running",
            "1, or 0 once a write or sync of the journal failed: the node must restart.",
        ),
        (
            "warifu_proposals_open",
            "What login services asked for and has not ended.",
        ),
        ("warifu_accounts", "Accounts known here."),
        (
            "warifu_log_size",
            "Leaves of the log here, of the last checkpoint that this operator made or signed.",
        ),
        (
            "warifu_log_cosigned_size",
            "Leaves of the last checkpoint with both signatures.",
        ),
        (
            "warifu_log_unlogged_blocks",
            "Sealed blocks without a leaf.",
        ),
        (
            "warifu_log_oldest_unlogged_seconds",
            "How long the oldest of them has been known since this start; 0 without any.",
        ),
        ("warifu_accounts_loaded", "Accounts in RAM."),
        (
            "warifu_peers_connected",
            "Lines that are up, by role; strangers are devices about to enrol.",
        ),
        (
            "warifu_clock_skew_seconds",
            "The other operator's clock less this one's, as last measured.",
        ),
        (
            "warifu_operators_round_trip_seconds",
            "The last round trip between the operators.",
        ),
        (
            "warifu_disk_free_bytes",
            "Free space where the journal lies.",
        ),
    ];
    for (name, help) in described {
        describe_gauge!(name, help);
    }
}

fn histograms() {
    let described = [
        (
            "warifu_login_step_duration_seconds",
            "Each step of a login as this party sees it; whole is from asked for to ended.",
        ),
        (
            "warifu_log_cosign_seconds",
            "From when the log met a sealed block here until both operators signed a checkpoint with its leaf.",
        ),
        (
            "warifu_http_request_duration_seconds",
            "Answers to login services, waiting included, by method and route.",
        ),
        (
            "warifu_journal_sync_duration_seconds",
            "One fdatasync of the journal.",
        ),
        (
            "warifu_vault_sync_duration_seconds",
            "One fdatasync of the vault.",
        ),
    ];
    for (name, help) in described {
        describe_histogram!(name, Unit::Seconds, help);
    }
}
