//! `/checkpoint` and `/tile/…`: what every reader of a log in tiles asks for (C2SP tlog-tiles).
//!
//! Decides nothing but what is there: only what both operators signed. A tile never changes, so it may be kept for ever;
//! the checkpoint is asked for again each time.

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use warifu_consensus::log::{SignedNote, Tile};

use super::{Served, TEXT, plain};

/// For what never changes: a year, which is for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

fn note(note: Option<SignedNote>) -> Response {
    match note {
        None => plain(StatusCode::NOT_FOUND, "no checkpoint yet"),
        Some(note) => {
            let headers = [
                (header::CONTENT_TYPE, TEXT),
                (header::CACHE_CONTROL, "no-cache"),
            ];
            (headers, note.to_string()).into_response()
        }
    }
}

/// The last checkpoint that both operators signed, with what public witnesses signed of it so far.
pub(super) async fn checkpoint(State(served): State<Served>) -> Response {
    note(served.side.book.cosigned().map(|(_, note)| note))
}

/// The last checkpoint that a public witness signed too.
pub(super) async fn witnessed(State(served): State<Served>) -> Response {
    note(served.side.witnessed().map(|(_, note)| note))
}

/// Hashes of a tile, or the leaves below one of level 0 as entries.
pub(super) async fn tile(State(served): State<Served>, Path(path): Path<String>) -> Response {
    let (tile, entries) = match path.strip_prefix("entries/") {
        Some(rest) => (format!("0/{rest}"), true),
        None => (path, false),
    };
    let Ok(tile) = tile.parse::<Tile>() else {
        return plain(StatusCode::NOT_FOUND, "no such tile");
    };
    let bytes = served.ask(move |side| match entries {
        true => side.book.entries(tile),
        false => side.book.tile(tile),
    });
    match bytes.await {
        Err(response) => response,
        Ok(None) => plain(StatusCode::NOT_FOUND, "not in the last checkpoint"),
        Ok(Some(bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, FOR_EVER),
            ];
            (headers, bytes).into_response()
        }
    }
}
