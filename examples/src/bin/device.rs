//! A device: enrols with a ticket, then asks its customer about each proposal.
//!
//! `device DIR MASTER_KEY_FILE LEDGER_FILE [TICKET_FILE]`

use std::{env, error::Error, fs, io, path::Path, sync::Arc};

use tokio::{runtime::Handle, task::spawn_blocking};
use warifu_client_sdk::device::{Decision, Device, DeviceEvent, DeviceOptions, EnrolStage};
use warifu_client_sdk::login_service::system_clock;
use warifu_client_sdk::{store::MasterKey, transport::Limits};
use warifu_consensus::{agree::Prompt, enrol::Ticket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [dir, key, ledger, ticket @ ..] = arguments.as_slice() else {
        return Err("expected DIR MASTER_KEY_FILE LEDGER_FILE [TICKET_FILE]".into());
    };
    let key = Path::new(key); // elsewhere than DIR; `create` never replaces a file
    let ledger = fs::read_to_string(ledger)?; // a ticket must name the same
    let device = Device::start(DeviceOptions {
        dir: dir.into(),
        master_key: MasterKey::read(key).or_else(|_| MasterKey::create(key))?,
        ledger: toml::from_str(&ledger)?,
        log_keys: toml::from_str(&ledger)?,
        clock: Arc::new(system_clock),
        signing: Handle::current(),
        limits: Limits::default(),
    })
    .await?;
    let mut events = device.events();
    if let Some(file) = ticket.first() {
        enrol(&device, &Ticket::from_uri(&fs::read_to_string(file)?)?).await?;
    }
    loop {
        let Ok(event) = events.recv().await else {
            continue; // fell behind while the customer was away: later events follow
        };
        match event {
            DeviceEvent::Asked { prompt, .. } => ask(&device, &prompt).await?,
            DeviceEvent::Sealed { sealed, .. } => println!("sealed {}", sealed.block.claims().kind),
            DeviceEvent::Failed { reason } => return Err(reason.into()),
            DeviceEvent::Log(trouble) => eprintln!("{trouble}"),
            DeviceEvent::Gone { .. } | DeviceEvent::Dead { .. } | DeviceEvent::Enrolling(_) => {}
        }
    }
}

async fn enrol(device: &Device, ticket: &Ticket) -> Result<(), Box<dyn Error>> {
    let mut stage = device.enrol(ticket).await?.stage;
    loop {
        match stage.borrow_and_update().clone() {
            EnrolStage::Running => {}
            EnrolStage::Digits(digits) => println!("digits {digits}"), // for the page
            EnrolStage::Founded(account) => {
                println!("account {account}");
                break println!("next    logins are asked here: type the page's two digits");
            }
            EnrolStage::Failed(reason) => return Err(reason.into()),
        }
        stage.changed().await?;
    }
    Ok(())
}

/// The page's two digits approve what is shown here, and nothing else; any other line denies it.
async fn ask(device: &Device, prompt: &Prompt) -> Result<(), Box<dyn Error>> {
    println!("asked {} at {}", prompt.claims.kind, prompt.claims.aud);
    if let Some(body) = &prompt.body {
        println!("the broker states: {} {}", body.channel, body.address);
    }
    let mut line = String::new();
    let line = spawn_blocking(move || io::stdin().read_line(&mut line).map(|_| line)).await??;
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let decided = match line.trim() {
        _ if line.is_empty() => return Err("end of input: nobody is there to decide".into()),
        number if is_number(number) => device.approve(prompt.hash, number.parse()?).await,
        _ => device.deny(prompt.hash, false).await,
    };
    match decided {
        Ok(Decision::Sealed(_)) => println!("approved"),
        Ok(Decision::Refused(_)) => println!("refused"),
        Ok(Decision::Open) => println!("not decided yet"),
        Err(error) => println!("not decided: {error}"), // it expired, or the number was none
    }
    Ok(())
}
