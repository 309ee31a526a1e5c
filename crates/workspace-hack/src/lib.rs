//! Holds the features of shared dependencies the same however few crates are built.
