//! Texts: what is signed, what people and programs write.

use std::{fmt::Display, path::Path, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};
use warifu_client_sdk::{
    login_service::api,
    receipt::{Expected, Moment, Voters, verify_login, verify_receipt},
};
use warifu_consensus::{
    block::{Block, Kind, Sealed},
    chain::verify_chain,
    encoding::Hash,
    enrol::{SixDigits, Ticket},
    party::Sub,
    time::Time,
    vote::Vote,
};
use warifu_node::{
    config::{File, PushUrl},
    control::{Answer, Request},
};

use crate::trio::{START_MS, ledger, standing};

fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

/// Blocks, sealed blocks, receipts, tickets and names have one text each.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(block) = Block::parse(text) {
        assert_eq!(block.input(), text);
        let key = &standing().account_key;
        if block
            .kid()
            .is_none_or(|kid| kid == standing().login.block.kid().unwrap())
        {
            let again = Block::new(block.claims().clone(), key).unwrap();
            assert_eq!(again.input(), text);
        }
    }
    if let Ok(sealed) = Sealed::from_json(text) {
        assert_eq!(sealed.to_json(), text);
        let _ = verify_chain(&ledger(), std::iter::once(&sealed));
    }
    if let Ok(ticket) = Ticket::from_uri(text) {
        assert_eq!(ticket.to_uri().unwrap(), text.trim());
        let _ = ticket.check(&ledger(), Time(START_MS));
    }
    one_spelling::<Hash>(text);
    one_spelling::<Sub>(text);
    one_spelling::<Vote>(text);
    one_spelling::<Kind>(text);
    if let Some(digits) = SixDigits::parse(text) {
        assert_eq!(digits.to_string(), text);
    }
    if let Ok(id) = api::parse_login_id(text) {
        assert_eq!(api::login_id_text(id), text);
    }
    receipt(text);
}

/// No receipt verifies but the login's own.
fn receipt(text: &str) {
    let standing = standing();
    let claims = standing.login.block.claims();
    let expected = Expected {
        iss: claims.iss.clone(),
        account: claims.sub,
        account_key: standing.account_key,
        aud: claims.aud.clone(),
        nonce: claims.nonce.clone(),
        kind: claims.kind,
    };
    for moment in [Moment::Evidence, Moment::Live(Time(START_MS))] {
        if let Ok(login) = verify_login(text, &expected, moment) {
            assert_eq!(login.hash(), standing.login.block.hash());
        }
        let voters = Voters {
            device: Some(standing.founded.device.public()),
            ..Voters::operators(&ledger())
        };
        if let Ok(receipt) = verify_receipt(text, &expected, &voters, moment) {
            assert_eq!(receipt.sealed, Box::new(standing.login.clone()));
        }
    }
}

/// A configuration that is read and written again is the same.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match File::parse(Path::new("warifu.toml"), text) {
        Ok(file) => {
            let rendered = file.render();
            let again = File::parse(Path::new("warifu.toml"), &rendered).unwrap_or_else(|error| {
                panic!("what was written is not read: {error}\n{rendered}")
            });
            assert_eq!(again, file);
        }
        Err(error) => drop(error.to_string()),
    }
    let _ = PushUrl::parse(text);
}

fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let again = serde_json::to_vec(&value).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&again).unwrap(), value);
    }
}

fn writes<T: Serialize + DeserializeOwned>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let once = serde_json::to_vec(&value).unwrap();
        let again = serde_json::from_slice::<T>(&once).unwrap();
        assert_eq!(serde_json::to_vec(&again).unwrap(), once);
    }
}

/// What the control socket and the HTTP side speak.
pub fn control(data: &[u8]) {
    same::<Request>(data);
    same::<Answer>(data);
    writes::<api::BeginLogin>(data);
    writes::<api::LoginBegun>(data);
    writes::<api::EnrolmentOpened>(data);
    writes::<api::Confirm>(data);
    writes::<api::AccountAnswer>(data);
    writes::<api::HistoryAnswer>(data);
    writes::<api::LastLoginAnswer>(data);
    writes::<api::BeginUnfreeze>(data);
    writes::<warifu_client_sdk::login_service::problem::Problem>(data);
}
