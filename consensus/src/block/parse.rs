//! From a signing input to claims: the exact inverse of encoding, and nothing more lenient.

use super::claims::{Claims, Class, GenesisClaims, Kind};
use super::error::BlockError;
use super::reader::{Reader, SyntaxError};
use super::{MAX_INPUT, restrict_header};
use crate::encoding::{ADMIT_TYP, Hash, RESTRICT_TYP, parse_b64, parse_b64_vec};
use crate::party::{Parties, Sub};

const HASH: &str = "a hash of 43 characters of base64url";
const KEY: &str = "a key of 43 characters of base64url";

/// The header's `kid` (none in a restrict block) and the claims; rules of the kind not yet checked.
pub(super) fn signing_input(input: &str) -> Result<(Option<String>, Claims), BlockError> {
    if input.len() > MAX_INPUT {
        return Err(BlockError::TooLong {
            found: input.len(),
            limit: MAX_INPUT,
        });
    }
    let found = input.split('.').count();
    let (2, Some((header, claims))) = (found, input.split_once('.')) else {
        return Err(BlockError::Parts { found });
    };
    let header = text(header, "header")?;
    let claims = text(claims, "claims")?;
    let kid = read_header(&header).map_err(BlockError::Header)?;
    let claims = read_claims(&claims).map_err(BlockError::Claims)?;
    check_typ(kid.is_some(), claims.kind)?;
    Ok((kid, claims))
}

fn text(part: &str, name: &'static str) -> Result<String, BlockError> {
    parse_b64_vec(part)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(BlockError::Encoding { part: name })
}

fn check_typ(header_is_admit: bool, kind: Kind) -> Result<(), BlockError> {
    let found = if header_is_admit {
        ADMIT_TYP
    } else {
        RESTRICT_TYP
    };
    let expected = match kind.class() {
        Class::Admit => ADMIT_TYP,
        Class::Restrict => RESTRICT_TYP,
    };
    if found == expected {
        Ok(())
    } else {
        Err(BlockError::Typ {
            found,
            expected,
            kind,
        })
    }
}

fn read_header(header: &str) -> Result<Option<String>, SyntaxError> {
    if header == restrict_header() {
        return Ok(None);
    }
    let mut reader = Reader::new(header);
    reader.literal(r#"{"alg":"EdDSA","kid":""#)?;
    let kid = reader.parsed("a thumbprint of 43 characters of base64url", |text| {
        parse_b64::<32>(text).map(|_| text.to_owned())
    })?;
    reader.literal(r#","typ":"warifu-block+jwt"}"#)?;
    reader.end()?;
    Ok(Some(kid))
}

fn read_claims(text: &str) -> Result<Claims, SyntaxError> {
    let reader = &mut Reader::new(text);
    reader.literal(r#"{"iss":""#)?;
    let iss = reader.string()?.to_owned();
    reader.literal(r#","sub":""#)?;
    let sub = reader.parsed(
        "an account name of 22 characters of base64url",
        str::parse::<Sub>,
    )?;
    reader.literal(r#","aud":""#)?;
    let aud = reader.string()?.to_owned();
    reader.literal(r#","iat":"#)?;
    let iat = reader.integer()?;
    reader.literal(r#","exp":"#)?;
    let exp = reader.integer()?;
    reader.literal(r#","nonce":""#)?;
    let nonce = reader.string()?.to_owned();
    reader.literal(r#","kind":""#)?;
    let kind = reader.parsed("a kind of block", str::parse::<Kind>)?;
    reader.literal(r#","height":"#)?;
    let height = reader.integer()?;
    reader.literal(r#","prev":""#)?;
    let prev = reader.parsed(HASH, str::parse::<Hash>)?;
    reader.literal(r#","epoch":"#)?;
    let epoch = reader.integer()?;
    reader.literal(r#","body":""#)?;
    let body = reader.parsed(
        "an empty string or a hash of 43 characters of base64url",
        |text| {
            if text.is_empty() {
                Ok(None)
            } else {
                text.parse::<Hash>().map(Some)
            }
        },
    )?;
    let supersedes = read_supersedes(reader)?;
    let genesis = if kind == Kind::Genesis {
        Some(read_genesis(reader)?)
    } else {
        None
    };
    reader.literal("}")?;
    reader.end()?;
    Ok(Claims {
        iss,
        sub,
        aud,
        iat,
        exp,
        nonce,
        kind,
        height,
        prev,
        epoch,
        body,
        supersedes,
        genesis,
    })
}

fn read_supersedes(reader: &mut Reader<'_>) -> Result<Option<Hash>, SyntaxError> {
    reader.literal(r#","supersedes":"#)?;
    if reader.skip("null") {
        return Ok(None);
    }
    if !reader.skip("\"") {
        return Err(reader.error("null or a hash of 43 characters of base64url"));
    }
    reader.parsed(HASH, str::parse::<Hash>).map(Some)
}

fn read_genesis(reader: &mut Reader<'_>) -> Result<GenesisClaims, SyntaxError> {
    reader.literal(r#","cnf":{"jwk":{"crv":"Ed25519","kty":"OKP","x":""#)?;
    let account_key = reader.parsed(KEY, parse_b64::<32>)?;
    reader.literal(r#"}},"parties":[""#)?;
    let device = reader.parsed(KEY, parse_b64::<32>)?;
    reader.literal(r#",""#)?;
    let broker = reader.parsed(KEY, parse_b64::<32>)?;
    reader.literal(r#",""#)?;
    let trust_operator = reader.parsed(KEY, parse_b64::<32>)?;
    reader.literal(r#"],"transcript":""#)?;
    let transcript = reader.parsed(HASH, str::parse::<Hash>)?;
    let parties = Parties {
        device,
        broker,
        trust_operator,
    };
    Ok(GenesisClaims {
        account_key,
        parties,
        transcript,
    })
}
