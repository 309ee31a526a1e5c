//! Turns a question into an answer from the zone, or says that it lies outside. Pure.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT},
    },
};

use crate::zone::{Found, Zone};

/// Seconds that clients may keep answers.
const TTL: u32 = 30;
/// Largest UDP answer; fits every path without fragments.
const PAYLOAD: u16 = 1232;

/// What to do with a query.
pub enum Outcome {
    Answer(Message),
    /// Ask an upstream server as it stands.
    Forward,
    /// The answer so far; the records of this name, from upstream, complete it.
    Chase(Message, Name),
}

/// Answers a query from the zone.
pub fn answer(zone: &Zone, query: &Message) -> Outcome {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        response.set_edns(edns);
    }
    let [question] = query.queries.as_slice() else {
        return refuse(response, ResponseCode::FormErr);
    };
    response.add_query(question.clone());
    if query.metadata.message_type != MessageType::Query || query.metadata.op_code != OpCode::Query
    {
        return refuse(response, ResponseCode::NotImp);
    }
    let name = question.name().to_lowercase();
    let labels: Vec<&str> = name
        .iter()
        .map(|l| std::str::from_utf8(l).unwrap_or("\u{fffd}"))
        .collect();
    if question.query_class() != DNSClass::IN {
        return Outcome::Forward;
    }
    if let Some(address) = reverse_address(&labels) {
        return reverse(zone, response, &name, question.query_type(), address);
    }
    match zone.relative(&labels) {
        Some(relative) => {
            response.metadata.authoritative = true;
            local(
                zone,
                response,
                question.name(),
                question.query_type(),
                relative,
            )
        }
        None => Outcome::Forward,
    }
}

fn refuse(mut response: Message, code: ResponseCode) -> Outcome {
    response.metadata.response_code = code;
    Outcome::Answer(response)
}

fn local(
    zone: &Zone,
    mut response: Message,
    name: &Name,
    kind: RecordType,
    relative: &[&str],
) -> Outcome {
    let found = match (kind, zone.find(relative)) {
        (RecordType::SRV, Found::Addresses(_)) => zone.find_all_ports(relative),
        (_, found) => found,
    };
    match found {
        Found::Addresses(addresses) => add_addresses(&mut response, name, kind, &addresses),
        Found::Services(targets) if kind == RecordType::SRV || kind == RecordType::ANY => {
            add_services(zone, &mut response, name, &targets);
        }
        Found::Services(_) => {}
        Found::Alias(target) => return alias(zone, response, name, kind, &target),
        Found::Version if kind == RecordType::TXT => {
            response.add_answer(Record::from_rdata(
                name.clone(),
                TTL,
                RData::TXT(TXT::new(vec!["1.1.0".to_owned()])),
            ));
        }
        Found::Empty if relative.is_empty() => apex(zone, &mut response, name, kind),
        Found::Version | Found::Empty => {}
        Found::Nothing => response.metadata.response_code = ResponseCode::NXDomain,
    }
    if response.answers.is_empty() {
        add_soa(zone, &mut response);
    }
    Outcome::Answer(response)
}

fn apex(zone: &Zone, response: &mut Message, name: &Name, kind: RecordType) {
    match kind {
        RecordType::SOA => {
            if let Some(soa) = soa(zone) {
                response.add_answer(soa);
            }
        }
        RecordType::NS => {
            if let Some(server) = absolute(zone, "ns.dns") {
                response.add_answer(Record::from_rdata(name.clone(), TTL, RData::NS(NS(server))));
            }
        }
        _ => {}
    }
}

fn add_addresses(response: &mut Message, name: &Name, kind: RecordType, addresses: &[IpAddr]) {
    for address in addresses {
        if let Some(record) = address_record(name, kind, *address) {
            response.add_answer(record);
        }
    }
}

fn address_record(name: &Name, kind: RecordType, address: IpAddr) -> Option<Record> {
    let data = match (address, kind) {
        (IpAddr::V4(v4), RecordType::A | RecordType::ANY) => RData::A(A(v4)),
        (IpAddr::V6(v6), RecordType::AAAA | RecordType::ANY) => RData::AAAA(AAAA(v6)),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), TTL, data))
}

fn add_services(
    zone: &Zone,
    response: &mut Message,
    name: &Name,
    targets: &[(String, u16, Vec<IpAddr>)],
) {
    let weight = u16::try_from(100 / targets.len().max(1))
        .unwrap_or(1)
        .max(1);
    for (target, port, addresses) in targets {
        let Some(target) = absolute(zone, target) else {
            continue;
        };
        response.add_answer(Record::from_rdata(
            name.clone(),
            TTL,
            RData::SRV(SRV::new(0, weight, *port, target.clone())),
        ));
        for address in addresses {
            if let Some(record) = address_record(&target, RecordType::ANY, *address)
                && !response.additionals.contains(&record)
            {
                response.add_additional(record);
            }
        }
    }
}

/// A CNAME, followed inside the zone here and outside of it by the caller.
fn alias(
    zone: &Zone,
    mut response: Message,
    name: &Name,
    kind: RecordType,
    target: &str,
) -> Outcome {
    let Ok(mut target) = Name::from_ascii(target) else {
        return refuse(response, ResponseCode::ServFail);
    };
    target.set_fqdn(true);
    response.add_answer(Record::from_rdata(
        name.clone(),
        TTL,
        RData::CNAME(CNAME(target.clone())),
    ));
    if !matches!(kind, RecordType::A | RecordType::AAAA) {
        return Outcome::Answer(response);
    }
    let lower = target.to_lowercase();
    let labels: Vec<&str> = lower
        .iter()
        .map(|l| std::str::from_utf8(l).unwrap_or("\u{fffd}"))
        .collect();
    match zone.relative(&labels) {
        Some(relative) => {
            if let Found::Addresses(addresses) = zone.find(relative) {
                add_addresses(&mut response, &target, kind, &addresses);
            }
            Outcome::Answer(response)
        }
        None => Outcome::Chase(response, target),
    }
}

fn reverse(
    zone: &Zone,
    mut response: Message,
    name: &Name,
    kind: RecordType,
    address: IpAddr,
) -> Outcome {
    let names = zone.find_reverse(address);
    if names.is_empty() {
        return Outcome::Forward;
    }
    response.metadata.authoritative = true;
    if matches!(kind, RecordType::PTR | RecordType::ANY) {
        for target in names.iter().filter_map(|n| absolute(zone, n)) {
            response.add_answer(Record::from_rdata(
                name.clone(),
                TTL,
                RData::PTR(PTR(target)),
            ));
        }
    } else {
        add_soa(zone, &mut response);
    }
    Outcome::Answer(response)
}

/// `7.0.96.10.in-addr.arpa` and its IPv6 likeness (RFC 1035 3.5, RFC 3596 2.5).
fn reverse_address(labels: &[&str]) -> Option<IpAddr> {
    match labels {
        [d, c, b, a, "in-addr", "arpa"] => format!("{a}.{b}.{c}.{d}").parse().ok().map(IpAddr::V4),
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let mut value = 0u128;
            for nibble in nibbles.iter().rev() {
                let digit = u128::from_str_radix(nibble, 16)
                    .ok()
                    .filter(|_| nibble.len() == 1)?;
                value = value << 4 | digit;
            }
            Some(IpAddr::from(value.to_be_bytes()))
        }
        _ => None,
    }
}

fn absolute(zone: &Zone, relative: &str) -> Option<Name> {
    let mut name = Name::from_ascii(format!("{relative}.{}", zone.domain())).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn soa(zone: &Zone) -> Option<Record> {
    let mut origin = Name::from_ascii(zone.domain()).ok()?;
    origin.set_fqdn(true);
    // The zone has no secondaries, so nobody compares serials.
    let data = SOA::new(
        absolute(zone, "ns.dns")?,
        absolute(zone, "hostmaster")?,
        1,
        7200,
        1800,
        86_400,
        TTL,
    );
    Some(Record::from_rdata(origin, TTL, RData::SOA(data)))
}

fn add_soa(zone: &Zone, response: &mut Message) {
    if let Some(soa) = soa(zone) {
        response.add_authority(soa);
    }
}

/// The bytes of an answer over UDP: cut and marked as such when they do not fit what the client takes.
pub fn encode_udp(query: &Message, response: &Message) -> Option<Vec<u8>> {
    let limit = usize::from(
        query
            .edns
            .as_ref()
            .map_or(512, |e| e.max_payload().clamp(512, PAYLOAD)),
    );
    let bytes = response.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    let mut cut = response.clone();
    cut.additionals.clear();
    if let Some(bytes) = cut.to_vec().ok().filter(|b| b.len() <= limit) {
        return Some(bytes);
    }
    cut.metadata.truncation = true;
    cut.answers.clear();
    cut.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::{Endpoint, Entry, Port};
    use hickory_proto::op::Query;

    fn zone(endpoints: u8) -> Zone {
        let mut zone = Zone::new("cluster.local");
        let ports = vec![Port {
            name: "http".into(),
            protocol: "tcp".into(),
            number: 80,
        }];
        zone.set(
            "default",
            "web",
            Some(Entry::ClusterIp {
                addresses: vec!["10.96.0.7".parse().unwrap()],
                ports: ports.clone(),
            }),
        );
        zone.set(
            "default",
            "inner",
            Some(Entry::ExternalName("web.default.svc.cluster.local".into())),
        );
        zone.set(
            "default",
            "outer",
            Some(Entry::ExternalName("example.com".into())),
        );
        let endpoint = |i| Endpoint {
            label: format!("p-{i}"),
            address: IpAddr::from([10, 244, 0, i]),
            ports: ports.clone(),
        };
        zone.set(
            "default",
            "many",
            Some(Entry::Headless((0..endpoints).map(endpoint).collect())),
        );
        zone
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        query
    }

    fn ask(name: &str, kind: RecordType) -> Message {
        match answer(&zone(2), &query(name, kind)) {
            Outcome::Answer(message) => message,
            Outcome::Forward => panic!("{name} forwarded"),
            Outcome::Chase(..) => panic!("{name} chased"),
        }
    }

    #[test]
    fn types_and_codes() {
        let cases = [
            (
                "web.default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                1,
            ),
            (
                "WEB.Default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                1,
            ),
            (
                "web.default.svc.cluster.local.",
                RecordType::AAAA,
                ResponseCode::NoError,
                0,
            ),
            (
                "web.default.svc.cluster.local.",
                RecordType::SRV,
                ResponseCode::NoError,
                1,
            ),
            (
                "_http._tcp.many.default.svc.cluster.local.",
                RecordType::SRV,
                ResponseCode::NoError,
                2,
            ),
            (
                "inner.default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                2,
            ),
            (
                "no.default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NXDomain,
                0,
            ),
            ("cluster.local.", RecordType::SOA, ResponseCode::NoError, 1),
            (
                "dns-version.cluster.local.",
                RecordType::TXT,
                ResponseCode::NoError,
                1,
            ),
            (
                "7.0.96.10.in-addr.arpa.",
                RecordType::PTR,
                ResponseCode::NoError,
                1,
            ),
        ];
        for (name, kind, code, answers) in cases {
            let message = ask(name, kind);
            assert_eq!(
                (message.metadata.response_code, message.answers.len()),
                (code, answers),
                "{name} {kind}"
            );
            assert_eq!(
                message.answers.is_empty(),
                !message.authorities.is_empty(),
                "{name} {kind}: SOA"
            );
        }
    }

    #[test]
    fn the_rest_is_forwarded() {
        for name in ["example.com.", "1.2.0.192.in-addr.arpa.", "local."] {
            assert!(
                matches!(
                    answer(&zone(1), &query(name, RecordType::A)),
                    Outcome::Forward
                ),
                "{name}"
            );
        }
        assert!(matches!(
            answer(
                &zone(1),
                &query("outer.default.svc.cluster.local.", RecordType::A)
            ),
            Outcome::Chase(..)
        ));
    }

    #[test]
    fn a_large_answer_is_cut_over_udp() {
        let query = query("many.default.svc.cluster.local.", RecordType::A);
        let Outcome::Answer(message) = answer(&zone(200), &query) else {
            panic!("not local")
        };
        assert_eq!(message.answers.len(), 200);
        let bytes = encode_udp(&query, &message).unwrap();
        let cut = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= 512 && cut.metadata.truncation);
    }
}
