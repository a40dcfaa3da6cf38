//! `warifu device enrol`: follows an enrolment from the ticket to the six digits, and with `--wait`
//! to the account.

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Read, Write},
    time::Duration,
};

use super::{Device, unexpected};
use crate::{
    control::{Answer, EnrolState, EnrolView, MAX_REQUEST, Request},
    output::{Exit, Failure, Lang, Style, large},
    progress, words,
};

/// How often the running device is asked how far it is.
const POLL: Duration = Duration::from_millis(250);

/// What a ticket begins with.
const SCHEME: &str = "warifu:";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file with the ticket (`warifu:enrol?ticket=…`), or `-` for stdin. The ticket itself is taken
    /// too, with a warning: it holds a secret, and every user of this machine reads the list of
    /// processes.
    #[arg(value_name = "FILE|-")]
    ticket: String,
    /// Wait until the account stands, not only for the digits.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(device: &Device, args: Args) -> Result<(), Failure> {
    let uri = ticket(args.ticket, device.output.lang())?;
    let waiting = progress::spinner("making the key", device.output.is_json());
    let mut view = enrolment(device, Request::Enrol { uri }).await?;
    let mut is_shown = false;
    loop {
        if let (false, Some(digits)) = (is_shown, &view.digits) {
            waiting.finish_and_clear();
            show(device, &view, digits)?;
            is_shown = true;
        }
        match view.state {
            EnrolState::Failed => {
                let reason = view.reason.as_deref().unwrap_or("no reason given");
                return Err(device.output.failure(
                    Exit::Refused,
                    &format!("登録できませんでした。何も残っていません: {reason}"),
                    &format!("enrolment failed, nothing was left behind: {reason}"),
                ));
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

/// The ticket that an argument names: `-`, a file, or the ticket itself.
fn ticket(named: String, lang: Lang) -> Result<String, Failure> {
    if named == "-" {
        let stdin = io::stdin();
        return if stdin.is_terminal() {
            // Pasted: the line's end is the ticket's.
            eprintln!(
                "{}",
                lang.both(words::PASTE_TICKET.0, words::PASTE_TICKET.1)
            );
            let mut line = String::new();
            let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
            let read = stdin.lock().take(limit).read_line(&mut line);
            read.map(|_| line.trim().to_owned())
                .map_err(|error| Failure::from_error(Exit::Io, &error))
        } else {
            read_ticket(stdin.lock(), "standard input")
        };
    }
    if named.starts_with(SCHEME) {
        // Nobody is left to warn when stderr is gone.
        let _ = writeln!(
            io::stderr(),
            "warifu: {}",
            lang.both(words::TICKET_SEEN.0, words::TICKET_SEEN.1)
        );
        return Ok(named);
    }
    let file = File::open(&named)
        .map_err(|error| Failure::new(Exit::Input, format!("could not open {named}: {error}")))?;
    read_ticket(file, &named)
}

fn read_ticket(from: impl Read, name: &str) -> Result<String, Failure> {
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    let mut text = String::new();
    from.take(limit)
        .read_to_string(&mut text)
        .map_err(|error| {
            let text = format!("could not read the ticket from {name}: {error}");
            Failure::new(Exit::Input, text)
        })?;
    Ok(text.trim().to_owned())
}
