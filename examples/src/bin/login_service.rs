//! A login service: begins a login for a customer, shows the number, and lets in only whom its own
//! look at the block admits (protocol rule 6).
//!
//! ```text
//! login_service BROKER_URL TOKEN_FILE LEDGER_FILE PINS_FILE AUD CUSTOMER
//! ```
//! Exits with 0 only if the customer may come in. Check a first factor before `begin`: who can
//! begin logins can ring a customer's device.

use std::{env, error::Error, fs, path::Path, process::ExitCode};

use warifu_client_sdk::login_service::{
    FilePins, LoginEnd, LoginService, Token,
    api::{Asked, Shown},
};

#[tokio::main]
async fn main() -> ExitCode {
    match log_in().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("login_service: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the customer may come in.
async fn log_in() -> Result<bool, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [broker, token, ledger, pins, aud, customer] = arguments.as_slice() else {
        return Err("expected BROKER_URL TOKEN_FILE LEDGER_FILE PINS_FILE AUD CUSTOMER".into());
    };
    // What this service knows by itself. Nothing that the broker answers replaces any of it.
    let token = Token::from_file(Path::new(token))?;
    let ledger = toml::from_str(&fs::read_to_string(ledger)?)?;
    let service = LoginService::new(broker, token, ledger, aud, FilePins::new(pins))?;
    let pin = service.pin_of(customer)?;

    let shown = Shown {
        channel: "web".to_owned(),
        address: "203.0.113.7".to_owned(), // the browser's, as this service's front end saw it
        details: Vec::new(),               // what `Asked::Approve` would ask to be approved
        reference: None,
    };
    let login = service.begin(pin, Asked::Login, shown).await?;
    println!("number  {}", login.number()); // onto the page; never to the device

    // `wait` takes the login, so that its nonce lets in at most once, and answers `Admitted` only
    // for a block that verified: pinned key, iss, aud, sub, this login's nonce, kind, exp.
    match service.wait(login).await? {
        LoginEnd::Admitted(admission) => {
            let claims = admission.login.block.claims();
            println!("height  {}", claims.height);
            println!("hash    {}", admission.login.hash());
            // To keep, as evidence: `verify` reads both years later, with no node.
            println!("nonce   {}", claims.nonce);
            println!("block   {}", admission.compact);
            Ok(true)
        }
        LoginEnd::Refused { by, reason } => {
            println!("refused by the {by}: {reason}");
            Ok(false)
        }
        LoginEnd::Expired => {
            println!("expired: nobody approved in time");
            Ok(false)
        }
    }
}
