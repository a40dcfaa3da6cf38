//! Verification of receipts.
