//! `warifu account`: what a login service sees and does about one customer's account.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use warifu_client_sdk::login_service::{FreezeEnd, VerifiedEntry, api::EraseAnswer};

use super::service::{Connection, Whose, failure};
use super::{block_on, login};
use crate::clock;
use crate::output::{Exit, Failure, Output, Style};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Status, height, head and jwk, as the broker tells them; the jwk must be the pinned one.
    Show(Account),
    /// Blocks, newest first, each verified with the pinned keys.
    History(History),
    /// The newest login, verified.
    LastLogin(Account),
    /// Freeze: nothing is admitted until an unfreeze.
    Freeze(Account),
    /// Erase a frozen account for good: both operators forget its content key, salts, shares and opener.
    Erase(Erase),
    /// Ask the customer's device to unfreeze, after re-identification; prints as `login` does.
    Unfreeze(Unfreeze),
}

#[derive(Debug, Args)]
pub(super) struct Account {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    of: Account,
    /// Only blocks below this height.
    #[arg(long)]
    before: Option<u64>,
    /// How many blocks, 1 to 100.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    limit: u64,
}

#[derive(Debug, Args)]
pub(super) struct Erase {
    #[command(flatten)]
    of: Account,
    /// Says that it is meant: nothing undoes it.
    #[arg(long)]
    for_good: bool,
}

#[derive(Debug, Args)]
pub(super) struct Unfreeze {
    #[command(flatten)]
    of: Account,
    /// Reference of the re-identification, such as a case number.
    #[arg(long)]
    reference: String,
    /// How the customer reached the desk; the device shows it.
    #[arg(long, default_value = "desk")]
    channel: String,
    /// From where; the device shows it.
    #[arg(long, default_value = "")]
    address: String,
    /// Begin only: print number and id, and leave.
    #[arg(long)]
    no_wait: bool,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Show(args) => block_on(show(args, output)),
        Command::History(args) => block_on(history(args, output)),
        Command::LastLogin(args) => block_on(last_login(args, output)),
        Command::Freeze(args) => block_on(freeze(args, output)),
        Command::Erase(args) if args.for_good => block_on(erase(args.of, output)),
        Command::Erase(_) => {
            let text = "nothing undoes an erasure: expected --for-good, found none";
            Err(Failure::new(Exit::Usage, text))
        }
        Command::Unfreeze(args) => block_on(unfreeze(args, output)),
    }
}

async fn show(args: Account, output: Output) -> Result<(), Failure> {
    let service = args.connection.open().await?;
    let pin = args.whose.pin(&service).await?;
    let account = service.account(pin).await.map_err(failure)?;
    output.print(&account, || {
        format!(
            "account {}\nstatus  {}\nheight  {}\nhead    {}\njwk     {}",
            account.account, account.status, account.height, account.head, account.jwk
        )
    })
}

async fn history(args: History, output: Output) -> Result<(), Failure> {
    let service = args.of.connection.open().await?;
    let pin = args.of.whose.pin(&service).await?;
    let page = service
        .history(pin, args.before, Some(args.limit))
        .await
        .map_err(failure)?;
    let blocks: Vec<Value> = page.blocks.iter().map(entry_json).collect();
    let answer = json!({ "account": pin.account, "blocks": blocks, "next": page.next });
    output.print(&answer, || {
        let mut lines: Vec<String> = page
            .blocks
            .iter()
            .map(|entry| entry_line(entry, output))
            .collect();
        lines.extend(page.next.map(|next| format!("older: --before {next}")));
        lines.join("\n")
    })
}

async fn last_login(args: Account, output: Output) -> Result<(), Failure> {
    let service = args.connection.open().await?;
    let pin = args.whose.pin(&service).await?;
    let login = service.last_login(pin).await.map_err(failure)?;
    let answer = json!({ "account": pin.account, "login": login.as_ref().map(entry_json) });
    output.print(&answer, || {
        login.as_ref().map_or_else(
            || "no login yet".to_owned(),
            |entry| entry_line(entry, output),
        )
    })
}

async fn freeze(args: Account, output: Output) -> Result<(), Failure> {
    let service = args.connection.open().await?;
    let pin = args.whose.pin(&service).await?;
    let account = pin.account;
    match service.freeze(pin).await.map_err(failure)? {
        FreezeEnd::Frozen {
            sealed,
            height,
            iat,
        } => {
            let hash = sealed.block.hash();
            let answer = json!({
                "status": "frozen",
                "account": account,
                "height": height,
                "time": iat,
                "hash": hash,
            });
            output.print(&answer, || {
                let frozen = output.paint(Style::Warning, "frozen");
                format!("{frozen}: account {account} at height {height}\nhash {hash}")
            })
        }
        FreezeEnd::Pending => {
            let answer = json!({ "status": "pending", "account": account });
            output.print(&answer, || {
                format!(
                    "{}: the broker admits nothing for account {account}; the freeze is sealed when the trust operator answers",
                    output.paint(Style::Warning, "freeze pending"),
                )
            })
        }
    }
}

async fn erase(args: Account, output: Output) -> Result<(), Failure> {
    let service = args.connection.open().await?;
    let pin = args.whose.pin(&service).await?;
    let account = pin.account;
    let (status, text) = match service.erase(pin).await.map_err(failure)? {
        EraseAnswer::Erased => ("erased", "both operators have forgotten its secrets"),
        EraseAnswer::Pending => (
            "pending",
            "the broker has forgotten its secrets; the trust operator is told until it has too",
        ),
    };
    let answer = json!({ "status": status, "account": account });
    output.print(&answer, || {
        let erased = output.paint(Style::Warning, "erased");
        format!("{erased}: account {account}: {text}")
    })
}

async fn unfreeze(args: Unfreeze, output: Output) -> Result<(), Failure> {
    let service = args.of.connection.open().await?;
    let pin = args.of.whose.pin(&service).await?;
    let begin = service.unfreeze(pin, &args.reference, &args.channel, &args.address);
    login::follow(&service, begin, args.no_wait, output).await
}

fn entry_json(entry: &VerifiedEntry) -> Value {
    let block = &entry.sealed.block;
    let claims = block.claims();
    json!({
        "height": claims.height,
        "kind": claims.kind.name(),
        "aud": claims.aud,
        "time": claims.iat,
        "hash": block.hash(),
        "body": entry.body,
        "block": entry.sealed.compact(),
        "receipt": entry.sealed.to_json(),
    })
}

fn entry_line(entry: &VerifiedEntry, output: Output) -> String {
    let claims = entry.sealed.block.claims();
    let mut hash = entry.sealed.block.hash().to_string();
    hash.truncate(12);
    let said = entry.body.as_ref().map_or_else(String::new, |body| {
        format!("  {} {}", body.channel, body.address)
    });
    let kind = format!("{:<9}", claims.kind.name());
    let kind = match claims.kind.class() {
        warifu_consensus::block::Class::Admit => output.paint(Style::Good, kind),
        warifu_consensus::block::Class::Restrict => output.paint(Style::Warning, kind),
    };
    format!(
        "{:>6}  {}  {kind} {}{said}  {}",
        claims.height,
        clock::local(claims.iat),
        claims.aud,
        output.paint(Style::Faint, hash),
    )
}
