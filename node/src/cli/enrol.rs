//! `warifu enrol`: a login service's enrolment, from the ticket to the pin.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use warifu_client_sdk::login_service::api::{Jwk, MAX_WAIT_S};
use warifu_client_sdk::login_service::problem::{Problem, ProblemKind};
use warifu_client_sdk::login_service::{
    EnrolmentEnd, LoginService, LoginServiceError, Pin, SqlitePins,
};

use super::block_on;
use super::service::{Connection, failure};
use crate::output::{Exit, Failure, Output, Style, qr};
use crate::{progress, words};

/// The longest that a session can take: a ticket's life and a genesis's.
const LONGEST: Duration = Duration::from_secs(600 + 210);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Open an enrolment and show its ticket. On a terminal, with --customer, waits for the device
    /// and asks for the six digits; otherwise prints the session for `enrol confirm`.
    Ticket(Ticket),
    /// Pass the customer's six digits on, wait for the account, verify its genesis, and pin it.
    Confirm(Confirm),
}

#[derive(Debug, Args)]
pub(super) struct Ticket {
    #[command(flatten)]
    connection: Connection,
    /// The customer's id at this login service.
    #[arg(long)]
    customer: Option<String>,
    /// Print the ticket and leave.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Confirm {
    #[command(flatten)]
    connection: Connection,
    /// The session that `enrol ticket` printed.
    // Base64url may begin with a hyphen.
    #[arg(allow_hyphen_values = true)]
    session: String,
    /// The six digits on the customer's device.
    digits: String,
    /// The customer's id at this login service: the account is pinned to it.
    #[arg(long)]
    customer: String,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Ticket(args) => {
            block_on(async { ticket(&args.connection.open().await?, &args, output).await })
        }
        Command::Confirm(args) => block_on(async {
            let service = args.connection.open().await?;
            let confirmed = confirm(&service, &args, output);
            let late = |_| Failure::new(Exit::Unreachable, "the session neither ended nor failed");
            tokio::time::timeout(LONGEST, confirmed)
                .await
                .map_err(late)?
        }),
    }
}

async fn ticket(
    service: &LoginService<SqlitePins>,
    args: &Ticket,
    output: Output,
) -> Result<(), Failure> {
    let customer = args.customer.as_deref();
    let opened = service.enrol(customer).await.map_err(failure)?;
    let code = qr(&opened.ticket_uri, output.is_coloured())
        .map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let seconds = opened.expires_in.as_secs();
    let answer = json!({
        "session": opened.session,
        "ticket_uri": *opened.ticket_uri,
        "expires_in": seconds,
    });
    output.print(&answer, || {
        let hint = output.lang().both(
            "端末でこのコードを読み取ってください。",
            "Scan this code with the device.",
        );
        format!(
            "{hint} ({seconds} s)\n\n{code}\n{}\n\nsession {}",
            *opened.ticket_uri, opened.session
        )
    })?;
    let session = opened.session.as_str();
    match customer {
        Some(customer) if !args.no_wait && !output.is_json() && std::io::stdin().is_terminal() => {
            ask(service, customer, session, output).await
        }
        _ => {
            let name = customer.unwrap_or("NAME");
            output.say(&format!(
                "then, with the same options: warifu enrol confirm {session} DIGITS --customer {name}"
            ))
        }
    }
}

/// Waits for the device, and asks for its digits until they match or the session ends.
async fn ask(
    service: &LoginService<SqlitePins>,
    customer: &str,
    session: &str,
    output: Output,
) -> Result<(), Failure> {
    let mut state = EnrolmentEnd::Waiting;
    loop {
        state = match state {
            EnrolmentEnd::Waiting => {
                let spinner = progress::spinner("waiting for the device", output.is_json());
                let wait = Duration::from_secs(MAX_WAIT_S);
                let looked = service.enrolment(customer, session, wait).await;
                spinner.finish_and_clear();
                looked.map_err(failure)?
            }
            EnrolmentEnd::Digits => {
                let digits = read_digits(output)?;
                match service.confirm(customer, session, &digits).await {
                    Err(LoginServiceError::Problem(problem)) if may_try_again(problem.kind()) => {
                        output.say(&wrong_digits(&problem, output))?;
                        EnrolmentEnd::Digits
                    }
                    confirmed => confirmed.map_err(failure)?,
                }
            }
            EnrolmentEnd::Pinned { pin, .. } => return tell(customer, &pin, output),
            EnrolmentEnd::Failed { reason } => return Err(failed(&reason, output)),
        };
    }
}

fn may_try_again(kind: Option<ProblemKind>) -> bool {
    matches!(
        kind,
        Some(ProblemKind::WrongDigits | ProblemKind::Malformed)
    )
}

/// What the page says about digits that were not taken.
fn wrong_digits(problem: &Problem, output: Output) -> String {
    let ja = match problem.tries_left {
        Some(left) => format!("6桁の数字が違います。あと{left}回入力できます。"),
        None => "6桁の数字を入力してください。".to_owned(),
    };
    output.lang().both(&ja, &problem.detail)
}

fn failed(reason: &str, output: Output) -> Failure {
    let ja = format!("登録できませんでした: {reason}");
    output.failure(Exit::Refused, &ja, &format!("enrolment failed: {reason}"))
}

fn read_digits(output: Output) -> Result<String, Failure> {
    let prompt = output.lang().both(
        "端末に表示された6桁の数字:",
        "The six digits on the device:",
    );
    let gone = |error: std::io::Error| Failure::from_error(Exit::Io, &error);
    let mut stderr = std::io::stderr();
    write!(stderr, "{prompt} ")
        .and_then(|()| stderr.flush())
        .map_err(gone)?;
    let mut line = String::new();
    let read = std::io::stdin().lock().take(256).read_line(&mut line);
    if read.map_err(gone)? == 0 {
        return Err(Failure::new(Exit::Io, "standard input ended"));
    }
    Ok(line.trim().to_owned())
}

async fn confirm(
    service: &LoginService<SqlitePins>,
    args: &Confirm,
    output: Output,
) -> Result<(), Failure> {
    let (customer, session) = (args.customer.as_str(), args.session.as_str());
    let wait = Duration::from_secs(MAX_WAIT_S);
    let spinner = progress::spinner("waiting for the account", output.is_json());
    let mut is_sent = false;
    loop {
        let state = service.enrolment(customer, session, wait).await;
        let state = match state.map_err(failure)? {
            EnrolmentEnd::Digits if !is_sent => {
                is_sent = true;
                let confirmed = service.confirm(customer, session, &args.digits).await;
                confirmed.map_err(failure)?
            }
            state => state,
        };
        match state {
            EnrolmentEnd::Pinned { pin, .. } => {
                spinner.finish_and_clear();
                return tell(customer, &pin, output);
            }
            EnrolmentEnd::Failed { reason } => return Err(failed(&reason, output)),
            EnrolmentEnd::Waiting => {}
            // The digits were taken, and what follows has not begun.
            EnrolmentEnd::Digits => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn tell(customer: &str, pin: &Pin, output: Output) -> Result<(), Failure> {
    let (ja, en) = words::PINNED;
    let answer = json!({
        "status": "done",
        "customer": customer,
        "account": pin.account,
        "jwk": Jwk::of(&pin.account_key),
    });
    output.print(&answer, || {
        format!(
            "{}: customer {customer} is account {}\njwk {}",
            output.paint(Style::Good, output.lang().label(ja, en)),
            pin.account,
            Jwk::of(&pin.account_key)
        )
    })
}
