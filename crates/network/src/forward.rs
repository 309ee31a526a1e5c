//! Firewalls of others. A packet is forwarded only when every table lets it pass, so ours cannot speak for pods where
//! somebody else's FORWARD chain drops by default, as Docker's does. There two rules, marked as ours, let pods through;
//! nothing else of anybody is touched.

use knarr_nft::{Batch, ChainInfo, Connection, Family, Result, Rule, Table};

/// Marks our rules in foreign chains.
const COMMENT: &str = "knarr pods";
/// Number of the forward hook.
const FORWARD_HOOK: u32 = 2;
/// Where Docker asks users to put their rules; it keeps them when it rewrites its own.
const DOCKER_USER: &str = "DOCKER-USER";

fn drops_forwarded(chain: &ChainInfo) -> bool {
    chain.hook.is_some_and(|(hook, _)| hook == FORWARD_HOOK) && chain.accepts == Some(false)
}

/// The chain of iptables' filter table where pods must be let through, if they must.
fn place(chains: &[ChainInfo]) -> Option<&str> {
    chains
        .iter()
        .find(|c| c.name == "FORWARD" && drops_forwarded(c))?;
    let docker = chains.iter().find(|c| c.name == DOCKER_USER);
    Some(docker.map_or("FORWARD", |c| c.name.as_str()))
}

/// Lets the bridge's traffic through foreign firewalls as far as that is possible, and says what was done or is left.
pub fn let_through(nft: &mut Connection, families: &[Family], bridge: &str) -> Result<()> {
    for family in families {
        let iptables = Table::new(*family, "filter");
        let chains = nft.chains(&iptables)?;
        if let Some(chain) = place(&chains) {
            insert(nft, &iptables, chain, bridge)?;
        }
    }
    report_others(nft, families)
}

fn insert(nft: &mut Connection, table: &Table, chain: &str, bridge: &str) -> Result<()> {
    if nft
        .rules(table)?
        .iter()
        .any(|r| r.chain == chain && r.comment.as_deref() == Some(COMMENT))
    {
        return Ok(());
    }
    let rule = || Rule::new(table.family);
    let mut batch = Batch::new();
    batch.insert_rule(
        table,
        chain,
        &rule().iifname(bridge).accept().comment(COMMENT),
    );
    batch.insert_rule(
        table,
        chain,
        &rule().oifname(bridge).accept().comment(COMMENT),
    );
    nft.commit(&batch)?;
    tracing::info!(
        family = %table.family, chain, bridge,
        "another firewall drops forwarded packets by default (iptables FORWARD policy DROP): added two rules that accept the pods' packets"
    );
    Ok(())
}

fn report_others(nft: &mut Connection, families: &[Family]) -> Result<()> {
    for family in families.iter().copied().chain([Family::Inet]) {
        for table in nft.tables(family)? {
            if table.name == "filter" && family != Family::Inet {
                continue;
            }
            for chain in nft.chains(&table)?.iter().filter(|c| drops_forwarded(c)) {
                tracing::warn!(
                    table = %format!("{family} {}", table.name), chain = chain.name,
                    "another firewall drops forwarded packets by default: pods are unreachable unless it accepts them"
                );
            }
        }
    }
    Ok(())
}

/// Takes our rules out of foreign chains.
pub fn withdraw(nft: &mut Connection) -> Result<()> {
    for family in [Family::Ipv4, Family::Ipv6] {
        let table = Table::new(family, "filter");
        let mut batch = Batch::new();
        for rule in nft
            .rules(&table)?
            .iter()
            .filter(|r| r.comment.as_deref() == Some(COMMENT))
        {
            batch.delete_rule(&table, &rule.chain, rule.handle);
        }
        nft.commit(&batch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str, hook: Option<u32>, accepts: Option<bool>) -> ChainInfo {
        ChainInfo {
            name: name.into(),
            hook: hook.map(|h| (h, 0)),
            accepts,
        }
    }

    #[test]
    fn rules_go_where_they_stay() {
        let input = chain("INPUT", Some(1), Some(false));
        let open = chain("FORWARD", Some(2), Some(true));
        let shut = chain("FORWARD", Some(2), Some(false));
        let docker = chain(DOCKER_USER, None, None);
        assert_eq!(place(&[]), None);
        assert_eq!(place(&[input.clone(), open, docker.clone()]), None);
        assert_eq!(place(&[input, shut.clone()]), Some("FORWARD"));
        assert_eq!(place(&[shut, docker]), Some(DOCKER_USER));
    }
}
