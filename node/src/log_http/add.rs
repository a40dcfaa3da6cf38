//! `POST /add-checkpoint` on the trust operator's side (C2SP tlog-witness), for this ledger's own log.
//!
//! It cosigns nothing here: it gives the cosignature that it made when it matched every leaf, and for a checkpoint that it
//! has not matched it says how far it is (docs/decisions/018). So nothing is persisted, and a checkpoint that the log
//! signed of another tree is kept as evidence of a fork.

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use warifu_consensus::log::{AddCheckpoint, Answer, Checkpoint};

use super::{LogSide, Served, TEXT, plain, read_body};
use crate::log::LogError;

/// The type of a size (C2SP tlog-witness).
const SIZE: &str = "text/x.tlog.size";

/// See the module.
pub(super) async fn add(State(served): State<Served>, body: Body) -> Response {
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let parsed = std::str::from_utf8(&body)
        .map_err(|_| "not UTF-8".to_owned())
        .and_then(|text| {
            text.parse::<AddCheckpoint>()
                .map_err(|error| error.to_string())
        });
    let request = match parsed {
        Ok(request) => request,
        Err(error) => return plain(StatusCode::BAD_REQUEST, error),
    };
    let answered = served.ask(move |side| answer(side, &request));
    answered.await.unwrap_or_else(|response| response)
}

fn answer(side: &LogSide, request: &AddCheckpoint) -> Result<Response, LogError> {
    let (book, keys) = (&side.book, side.book.keys());
    keep_fork(side, request)?;
    let cosigned = book.cosigned();
    let last = cosigned.as_ref().map(|(own, _)| (own.size, own.root));
    let size = last.map_or(0, |(size, _)| size);
    Ok(match request.answer(&keys.log, last) {
        Answer::Cosign(shown) => match cosigned {
            Some((own, note)) if own == shown => {
                let lines = note.lines_of(&keys.witness);
                ([(header::CONTENT_TYPE, TEXT)], lines).into_response()
            }
            _ => conflict(size),
        },
        Answer::OtherSize(size) => conflict(size),
        refused => plain(status(&refused), why(&refused)),
    })
}

/// What the log signed and can't be of this log.
fn keep_fork(side: &LogSide, request: &AddCheckpoint) -> Result<(), LogError> {
    let (book, note) = (&side.book, &request.checkpoint);
    let Ok(shown) = Checkpoint::open(note, &book.keys().log) else {
        return Ok(());
    };
    if shown.size <= book.state().size && book.root_of(shown.size)? != shown.root {
        book.keep_evidence(&shown, note)?;
    }
    Ok(())
}

fn conflict(size: u64) -> Response {
    let headers = [(header::CONTENT_TYPE, SIZE)];
    (StatusCode::CONFLICT, headers, format!("{size}\n")).into_response()
}

fn status(answer: &Answer) -> StatusCode {
    StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn why(answer: &Answer) -> String {
    match answer {
        Answer::Cosign(_) => "cosigned".to_owned(),
        Answer::Malformed(why) => why.clone(),
        Answer::Untrusted(error) => error.to_string(),
        Answer::UnknownLog { origin } => format!("no log {origin:?} is known here"),
        Answer::OtherSize(size) => format!("{size} leaves are cosigned here"),
        Answer::Unproven(error) => error.to_string(),
    }
}
