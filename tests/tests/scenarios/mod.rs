//! Seeded walks, and by hand what a walk rarely meets.

mod found_bugs;
mod refusals;
mod rules;
mod seeds;
mod stage;
