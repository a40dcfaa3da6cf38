//! `warifu device enrol`: follows an enrolment from the ticket to the six digits, and with `--wait`
//! to the account.

use std::{
    io::{self, Read},
    time::Duration,
};

use super::{Device, unexpected};
use crate::{
    control::{Answer, EnrolState, EnrolView, MAX_REQUEST, Request},
    output::{Exit, Failure, Style, large},
    words,
};

/// How often the running device is asked how far it is.
const POLL: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ticket, `warifu:enrol?ticket=…`; `-` reads it from stdin and keeps it out of the list of
    /// processes.
    ticket: String,
    /// Wait until the account stands, not only for the digits.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(device: &Device, args: Args) -> Result<(), Failure> {
    let uri = if args.ticket == "-" {
        read_ticket()?
    } else {
        args.ticket
    };
    let mut view = enrolment(device, Request::Enrol { uri }).await?;
    let mut is_shown = false;
    loop {
        if let (false, Some(digits)) = (is_shown, &view.digits) {
            show(device, &view, digits)?;
            is_shown = true;
        }
        match view.state {
            EnrolState::Failed => {
                let reason = view.reason.as_deref().unwrap_or("no reason given");
                let text = format!("enrolment failed, nothing was left behind: {reason}");
                return Err(Failure::new(Exit::Refused, text));
            }
            EnrolState::Done => return done(device, &view),
            EnrolState::Digits if is_shown && !args.wait => return Ok(()),
            EnrolState::Running | EnrolState::Digits => {}
        }
        tokio::time::sleep(POLL).await;
        let session = view.session.clone();
        view = enrolment(device, Request::Enrolment { session }).await?;
    }
}

async fn enrolment(device: &Device, request: Request) -> Result<EnrolView, Failure> {
    match device.ask(request).await? {
        Answer::Enrolment(view) => Ok(view),
        other => Err(unexpected(&other)),
    }
}

fn show(device: &Device, view: &EnrolView, digits: &str) -> Result<(), Failure> {
    let output = device.output;
    output.print(view, || {
        format!(
            "\n{}\n\n  {}\n\n{}\n",
            large(digits),
            output.paint(Style::Strong, digits),
            output.lang().both(words::DIGITS.0, words::DIGITS.1)
        )
    })
}

fn done(device: &Device, view: &EnrolView) -> Result<(), Failure> {
    let output = device.output;
    output.print(view, || {
        format!(
            "{}\n{}",
            output.lang().both(words::ENROLLED.0, words::ENROLLED.1),
            view.account.as_deref().unwrap_or_default()
        )
    })
}

fn read_ticket() -> Result<String, Failure> {
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::new(Exit::Input, format!("could not read the ticket: {error}"))
        })?;
    Ok(text.trim().to_owned())
}
