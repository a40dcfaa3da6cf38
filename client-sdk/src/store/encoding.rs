//! The one place of the store that names bincode.
//!
//! Decides how records become bytes: serde through bincode 2, little endian, fixed-width integers,
//! lengths as u64. Decoding is bounded, takes all bytes or none, and accepts only what encoding
//! the result again gives. Never carries anything that is signed.

use serde::{Deserialize, Serialize, de};

/// Why bytes were not encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// The value cannot be written in this encoding.
    #[error("value cannot be encoded")]
    Unencodable,
    /// More bytes than the limit.
    #[error("encoding has {found} bytes, limit {limit}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// The bytes are no encoding of the expected type.
    #[error("bytes are not an encoding of the expected type")]
    Malformed,
    /// The encoding ends before the bytes do.
    #[error("encoding is followed by {trailing} more bytes")]
    Trailing {
        /// How many bytes follow.
        trailing: usize,
    },
    /// The bytes decode, but encode differently.
    #[error("encoding is not canonical")]
    NotCanonical,
}

fn config<const LIMIT: usize>() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<LIMIT>()
}

/// Encodes `value` in at most `LIMIT` bytes.
pub(crate) fn encode<const LIMIT: usize, T: Serialize>(
    value: &T,
) -> Result<Vec<u8>, EncodingError> {
    let bytes = bincode::serde::encode_to_vec(value, config::<LIMIT>())
        .map_err(|_| EncodingError::Unencodable)?;
    if bytes.len() > LIMIT {
        return Err(EncodingError::TooLarge {
            found: bytes.len(),
            limit: LIMIT,
        });
    }
    Ok(bytes)
}

/// Decodes the only encoding of a value, at most `LIMIT` bytes long.
pub(crate) fn decode<const LIMIT: usize, T>(bytes: &[u8]) -> Result<T, EncodingError>
where
    T: Serialize + de::DeserializeOwned,
{
    if bytes.len() > LIMIT {
        return Err(EncodingError::TooLarge {
            found: bytes.len(),
            limit: LIMIT,
        });
    }
    let (value, used): (T, usize) = bincode::serde::decode_from_slice(bytes, config::<LIMIT>())
        .map_err(|_| EncodingError::Malformed)?;
    let trailing = bytes.len().saturating_sub(used);
    if trailing > 0 {
        return Err(EncodingError::Trailing { trailing });
    }
    if encode::<LIMIT, T>(&value)? != bytes {
        return Err(EncodingError::NotCanonical);
    }
    Ok(value)
}

/// Bytes written as one length and one block; serde would otherwise visit each byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl de::Visitor<'_> for BytesVisitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }

        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_bounded_exact_and_canonical() {
        let value = (7u32, vec![Bytes(vec![1, 2, 3])], Some(9u8));
        let bytes = encode::<64, _>(&value).unwrap();
        assert_eq!(bytes.len(), 4 + 8 + 8 + 3 + 2);
        assert_eq!(decode::<64, _>(&bytes), Ok(value.clone()));

        let mut trailing = bytes.clone();
        trailing.push(0);
        assert_eq!(
            decode::<64, (u32, Vec<Bytes>, Option<u8>)>(&trailing),
            Err(EncodingError::Trailing { trailing: 1 })
        );
        assert_eq!(
            encode::<8, _>(&value),
            Err(EncodingError::TooLarge {
                found: 25,
                limit: 8
            })
        );

        // A length of 2^63 must be refused before anything is allocated for it.
        let mut huge = bytes;
        huge[19] = 0x80;
        assert_eq!(
            decode::<64, (u32, Vec<Bytes>, Option<u8>)>(&huge),
            Err(EncodingError::Malformed)
        );
    }
}
