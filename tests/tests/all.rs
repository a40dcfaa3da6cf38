//! The one integration binary: scenarios, and what needs several crates at once.

mod scenarios;
