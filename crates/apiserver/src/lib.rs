//! The HTTP chain.
