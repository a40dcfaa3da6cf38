//! Seeded walks, and by hand what a walk rarely meets.

mod attacks;
mod conflicts;
mod found_bugs;
mod holes;
mod refusals;
mod rules;
mod seeds;
mod stage;
