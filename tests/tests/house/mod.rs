//! What the house promises about its own build: which crate may depend on what, and which file
//! may name what. Broken promises are found here, not in review. It never builds anything: it
//! asks cargo for the resolved tree and reads the sources as text.

mod arrows;
mod limits;
mod purity;
mod sources;
mod wiped;
