//! Seeded walks, and by hand what a walk rarely meets.

mod attacks;
mod found_bugs;
mod refusals;
mod rules;
mod seeds;
mod stage;
