//! Queue, snapshot, framework, plugins.
