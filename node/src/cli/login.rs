//! `warifu login`: a login service's login, from the number on the page to the verified block.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use warifu_client_sdk::login_service::api::{Asked, Jwk, Shown};
use warifu_client_sdk::login_service::{
    Admission, LoginEnd, LoginService, LoginServiceError, OpenLogin, PinStore,
};
use warifu_consensus::body::Detail;

use super::block_on;
use super::service::{Connection, Whose, failure};
use crate::clock;
use crate::output::{Exit, Failure, Output, Style, large, role_name};
use crate::progress;
use crate::words;

/// Ask a customer to log in (or to approve something), wait, and verify the block.
///
/// With --json two lines are printed. At once: {"number","id","nonce","expires_in"}, so that the
/// number can be shown. At the end: {"status":"admitted","block","jwk","account","height","hash",
/// "receipt"} (with --proof more), or {"status":"refused","by","reason"}, or {"status":"expired"}; the last two exit
/// with 1.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    whose: Whose,
    /// What is asked.
    #[arg(long, value_enum, default_value = "login")]
    kind: What,
    /// How the customer reached this login service; the device shows it.
    #[arg(long, default_value = "cli")]
    channel: String,
    /// From where; the device shows it.
    #[arg(long, default_value = "")]
    address: String,
    /// The customer's address as seen by this login service: the broker counts by its network.
    #[arg(long, value_name = "ADDRESS")]
    client_ip: Option<IpAddr>,
    /// One thing to approve, as LABEL=VALUE; up to 16 times.
    #[arg(long = "detail", value_name = "LABEL=VALUE", value_parser = detail)]
    details: Vec<Detail>,
    /// Begin only: print number and id, and leave. The block is then nobody's to verify here.
    #[arg(long)]
    no_wait: bool,
    /// Ask for the proof that the block is in the ledger's log too, and verify it: with --json "proof" (C2SP
    /// tlog-proof), "index", "size" and "cosigned" (Unix seconds). Without it in time the login is admitted all the same.
    #[arg(long, conflicts_with = "no_wait")]
    proof: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Log in.
    Login,
    /// Approve a named act.
    Approve,
    /// Change own settings.
    Change,
}

impl From<What> for Asked {
    fn from(what: What) -> Asked {
        match what {
            What::Login => Asked::Login,
            What::Approve => Asked::Approve,
            What::Change => Asked::Change,
        }
    }
}

fn detail(text: &str) -> Result<Detail, String> {
    let (label, value) = text
        .split_once('=')
        .ok_or("expected LABEL=VALUE, found no =")?;
    Ok(Detail {
        label: label.to_owned(),
        value: value.to_owned(),
    })
}

pub(super) fn run(args: Args, output: Output) -> Result<(), Failure> {
    block_on(async {
        let service = args.connection.open().await?;
        let service = if args.proof {
            service.with_log(args.connection.log_keys()?)
        } else {
            service
        };
        let pin = args.whose.pin(&service).await?;
        let shown = Shown {
            channel: args.channel,
            address: args.address,
            details: args.details,
            reference: None,
        };
        let asked = service.begin_from(pin, args.kind.into(), shown, args.client_ip);
        follow(&service, asked, args.no_wait, output).await
    })
}

/// Begins, shows the number, waits for the end, verifies, and prints it. Whoever interrupts this
/// (SIGINT, SIGTERM, SIGHUP), or takes its output away, takes the login back: an account holds
/// one proposal, and nobody is left to read its number.
pub(super) async fn follow<P: PinStore>(
    service: &LoginService<P>,
    begin: impl Future<Output = Result<OpenLogin, LoginServiceError>>,
    no_wait: bool,
    output: Output,
) -> Result<(), Failure> {
    // Before it begins: a signal that comes meanwhile waits until there is an id to cancel.
    let mut interrupts = Interrupts::watch()?;
    let login = begin.await.map_err(failure)?;
    let id = login.id().to_owned();
    let ended = match show_number(&login, output) {
        Ok(()) if no_wait => return Ok(()),
        Ok(()) => {
            tokio::select! {
                ended = finish(service, login, output) => return ended,
                name = interrupts.next() => {
                    let text = format!("interrupted by {name}, the login is taken back");
                    Failure::new(Exit::Refused, text)
                }
            }
        }
        Err(gone) => gone,
    };
    service.cancel(&id).await.map_err(failure)?;
    Err(ended)
}

/// The signals that end a command.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    fn watch() -> Result<Interrupts, Failure> {
        let watch = |kind| signal(kind).map_err(|error| Failure::from_error(Exit::Io, &error));
        Ok(Interrupts {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// Shows the number that the customer types into the device.
fn show_number(login: &OpenLogin, output: Output) -> Result<(), Failure> {
    let expires_in = login.expires_in().as_secs();
    let answer = json!({
        "number": login.number(),
        "id": login.id(),
        "nonce": login.expected().nonce,
        "expires_in": expires_in,
    });
    output.print(&answer, || {
        let hint = output.lang().both(
            "この番号を端末に入力してください。",
            "Type this number into the device.",
        );
        let number = output.paint(Style::Strong, large(login.number()));
        let id = output.paint(Style::Faint, format!("login {}", login.id()));
        format!(
            "{hint}\n\n{number}\n\n{} ({expires_in} s)\n{id}",
            login.number()
        )
    })
}

/// Waits for the end, verifies, and prints it.
async fn finish<P: PinStore>(
    service: &LoginService<P>,
    login: OpenLogin,
    output: Output,
) -> Result<(), Failure> {
    let label = "waiting for the device";
    let bar = progress::seconds(label, login.expires_in(), output.is_json());
    let ended = tokio::select! {
        ended = service.wait(login) => ended,
        () = tick(&bar) => return Err(Failure::new(Exit::Io, "the countdown ended")),
    };
    bar.finish_and_clear();
    tell(&ended.map_err(failure)?, service.asks_log(), output)
}

/// Moves the countdown every second; never ends.
async fn tick(bar: &ProgressBar) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        bar.set_position(bar.position().saturating_sub(1));
    }
}

/// `is_logged`: whether the log's proof was asked for.
fn tell(end: &LoginEnd, is_logged: bool, output: Output) -> Result<(), Failure> {
    match end {
        LoginEnd::Admitted(admission) => output.print(&admitted_json(admission), || {
            admitted_text(admission, is_logged, output)
        }),
        LoginEnd::Refused { by, reason } => {
            let (ja, by) = (words::party(*by), role_name(*by));
            print_end(
                &json!({ "status": "refused", "by": by, "reason": reason }),
                output,
            )?;
            Err(output.failure(
                Exit::Refused,
                &words::reason_ja(reason).map_or_else(
                    || format!("{ja}が拒否しました。"),
                    |reason| format!("{ja}が拒否しました: {reason}"),
                ),
                &format!("refused by the {by}: {reason}"),
            ))
        }
        LoginEnd::Expired => {
            print_end(&json!({ "status": "expired" }), output)?;
            let (ja, en) = words::EXPIRED;
            Err(output.failure(Exit::Refused, ja, en))
        }
    }
}

/// With `--json` a refusal is an answer too; people read it on stderr.
fn print_end(value: &serde_json::Value, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        output.print(value, String::new)
    } else {
        Ok(())
    }
}

fn admitted_json(admission: &Admission) -> serde_json::Value {
    let claims = admission.login.block.claims();
    let mut answer = json!({
        "status": "admitted",
        "block": admission.compact,
        "jwk": Jwk::of(&admission.account_key),
        "account": claims.sub,
        "kind": claims.kind.name(),
        "height": claims.height,
        "hash": admission.login.hash(),
        "receipt": admission.receipt.to_json(),
    });
    if let (Some((logged, proof)), Some(answer)) = (&admission.logged, answer.as_object_mut()) {
        answer.insert("proof".to_owned(), proof.as_str().into());
        answer.insert("index".to_owned(), logged.index.into());
        answer.insert("size".to_owned(), logged.checkpoint.size.into());
        answer.insert("cosigned".to_owned(), logged.cosigned.into());
    }
    answer
}

fn admitted_text(admission: &Admission, is_logged: bool, output: Output) -> String {
    let claims = admission.login.block.claims();
    let (ja, en) = words::ADMITTED;
    let missing = if is_logged {
        "the ledger's log has no proof of it yet: ask the broker again later\n"
    } else {
        ""
    };
    let logged = admission.logged.as_ref().map_or_else(
        || missing.to_owned(),
        |(logged, proof)| {
            format!(
                "receipt:\n\n{}\n\nleaf {} of {} in the ledger's log, cosigned at {}:\n\n{proof}\n",
                admission.receipt.to_json(),
                logged.index,
                logged.checkpoint.size,
                clock::local(logged.cosigned)
            )
        },
    );
    format!(
        "{}: {} at {}\naccount {}  height {}\ntime    {}\nhash    {}\njwk     {} (with it any JOSE library verifies the block below)\n{logged}\n{}",
        output.paint(Style::Good, output.lang().label(ja, en)),
        claims.kind,
        claims.aud,
        claims.sub,
        claims.height,
        clock::local(claims.iat),
        admission.login.hash(),
        Jwk::of(&admission.account_key),
        admission.compact,
    )
}
