//! Real connections through Services, on a node that is a network namespace with real pods. Skipped without root.

mod api;
mod node;
mod scale;
mod traffic;
