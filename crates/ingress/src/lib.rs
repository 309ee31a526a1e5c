//! Ingress routing table and L7 proxy.
