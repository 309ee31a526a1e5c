//! FlowSchemas and PriorityLevelConfigurations, ready for requests.

use std::{collections::HashMap, sync::Arc};

use http::HeaderValue;
use knarr_store::Stored;
use serde::Deserialize;

use super::{
    level::{Level, Queuing},
    shares::{self, Share},
};

pub const SCHEMAS: &str = "/registry/flowschemas/";
pub const LEVELS: &str = "/registry/prioritylevelconfigurations/";

/// What requests are sorted by.
pub struct Plan {
    /// In the order in which they are tried; the last takes everything.
    pub schemas: Vec<Arc<Schema>>,
    pub levels: Vec<Arc<Level>>,
}

pub struct Schema {
    pub name: String,
    pub uid: HeaderValue,
    pub precedence: i32,
    pub distinguisher: Distinguisher,
    pub rules: Vec<Rule>,
    pub level: Arc<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distinguisher {
    Nobody,
    User,
    Namespace,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    pub subjects: Vec<Subject>,
    pub resource_rules: Vec<ResourceRule>,
    pub non_resource_rules: Vec<PathRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    pub kind: String,
    pub user: Named,
    pub group: Named,
    pub service_account: Named,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    pub name: String,
    pub namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub cluster_scope: bool,
    pub namespaces: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PathRule {
    pub verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub urls: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SchemaObject {
    spec: SchemaSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SchemaSpec {
    priority_level_configuration: Named,
    matching_precedence: i32,
    distinguisher_method: Option<Method>,
    rules: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Method {
    r#type: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LevelObject {
    spec: LevelSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LevelSpec {
    r#type: String,
    limited: Option<Limited>,
    exempt: Option<Limited>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Limited {
    nominal_concurrency_shares: Option<u32>,
    lendable_percent: Option<u32>,
    borrowing_limit_percent: Option<u32>,
    limit_response: Response,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    r#type: String,
    queuing: Option<QueuingObject>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueuingObject {
    queues: Option<u32>,
    hand_size: Option<u32>,
    queue_length_limit: Option<u32>,
}

/// A level as its object describes it.
struct Described {
    name: String,
    uid: String,
    exempt: bool,
    share: Share,
    queuing: Option<Queuing>,
}

impl Described {
    fn of(stored: &Stored) -> Self {
        let object: LevelObject = serde_json::from_slice(&stored.json).unwrap_or_default();
        let exempt = object.spec.r#type == "Exempt";
        let usual = if exempt { 0 } else { 30 };
        let body = if exempt {
            object.spec.exempt
        } else {
            object.spec.limited
        };
        let body = body.unwrap_or_default();
        let queuing = (body.limit_response.r#type == "Queue").then(|| {
            let given = body.limit_response.queuing.unwrap_or_default();
            Queuing {
                queues: given.queues.unwrap_or(64).max(1) as usize,
                hand: given.hand_size.unwrap_or(8).max(1) as usize,
                length: given.queue_length_limit.unwrap_or(50).max(1) as usize,
            }
        });
        Described {
            name: stored.head.name.clone(),
            uid: stored.head.uid.clone(),
            exempt,
            share: Share {
                shares: body.nominal_concurrency_shares.unwrap_or(usual),
                lendable_percent: body.lendable_percent.unwrap_or(0).min(100),
                borrowing_percent: body.borrowing_limit_percent,
            },
            queuing,
        }
    }

    /// The two levels that there always are.
    fn mandatory(exempt: bool) -> Self {
        Described {
            name: if exempt { "exempt" } else { "catch-all" }.into(),
            uid: String::new(),
            exempt,
            share: Share {
                shares: if exempt { 0 } else { 5 },
                lendable_percent: 0,
                borrowing_percent: None,
            },
            queuing: None,
        }
    }
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}

impl Plan {
    /// Levels that were there before keep who sits and waits in them.
    pub fn new(
        schemas: &[Arc<Stored>],
        levels: &[Arc<Stored>],
        seats: u32,
        old: Option<&Plan>,
    ) -> Self {
        let levels = make_levels(levels, seats, old);
        let by_name: HashMap<&str, &Arc<Level>> =
            levels.iter().map(|l| (l.name.as_str(), l)).collect();
        let mut schemas: Vec<Arc<Schema>> = schemas
            .iter()
            .filter_map(|s| schema(s, &by_name).map(Arc::new))
            .collect();
        for exempt in [true, false] {
            let name = if exempt { "exempt" } else { "catch-all" };
            if let (true, Some(level)) = (schemas.iter().all(|s| s.name != name), by_name.get(name))
            {
                schemas.push(Arc::new(mandatory(exempt, (*level).clone())));
            }
        }
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        // Nothing may come behind what takes everything.
        if let Some(at) = schemas.iter().position(|s| s.name == "catch-all") {
            let last = schemas.remove(at);
            schemas.push(last);
        }
        Plan { schemas, levels }
    }
}

fn make_levels(stored: &[Arc<Stored>], seats: u32, old: Option<&Plan>) -> Vec<Arc<Level>> {
    let mut described: Vec<Described> = stored.iter().map(|s| Described::of(s)).collect();
    for exempt in [true, false] {
        let mandatory = Described::mandatory(exempt);
        if described.iter().all(|d| d.name != mandatory.name) {
            described.push(mandatory);
        }
    }
    let shares: Vec<Share> = described.iter().map(|d| d.share).collect();
    let bounds = shares::bounds(&shares, seats);
    let pairs = described.into_iter().zip(bounds);
    pairs
        .map(|(d, bounds)| {
            let before = old.and_then(|o| o.levels.iter().find(|l| l.name == d.name));
            match before.filter(|l| l.fits(&d.uid, d.exempt, d.queuing)) {
                Some(level) => {
                    level.set_bounds(bounds);
                    level.clone()
                }
                None => Arc::new(Level::new(
                    d.name,
                    header(&d.uid),
                    d.exempt,
                    bounds,
                    d.queuing,
                )),
            }
        })
        .collect()
}

fn mandatory(exempt: bool, level: Arc<Level>) -> Schema {
    let group = |name: &str| Subject {
        kind: "Group".into(),
        group: Named {
            name: name.into(),
            namespace: String::new(),
        },
        ..Subject::default()
    };
    let subjects = if exempt {
        vec![group("system:masters")]
    } else {
        vec![group("*")]
    };
    let all = || vec!["*".to_owned()];
    Schema {
        name: level.name.clone(),
        uid: header(""),
        precedence: if exempt { 1 } else { 10_000 },
        distinguisher: if exempt {
            Distinguisher::Nobody
        } else {
            Distinguisher::User
        },
        rules: vec![Rule {
            subjects,
            resource_rules: vec![ResourceRule {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                cluster_scope: true,
                namespaces: all(),
            }],
            non_resource_rules: vec![PathRule {
                verbs: all(),
                urls: all(),
            }],
        }],
        level,
    }
}

/// None when its level is not there.
fn schema(stored: &Stored, levels: &HashMap<&str, &Arc<Level>>) -> Option<Schema> {
    let object: SchemaObject = serde_json::from_slice(&stored.json).ok()?;
    let spec = object.spec;
    let level = levels.get(spec.priority_level_configuration.name.as_str())?;
    let distinguisher = match spec
        .distinguisher_method
        .as_ref()
        .map(|m| m.r#type.as_str())
    {
        Some("ByUser") => Distinguisher::User,
        Some("ByNamespace") => Distinguisher::Namespace,
        _ => Distinguisher::Nobody,
    };
    Some(Schema {
        name: stored.head.name.clone(),
        uid: header(&stored.head.uid),
        precedence: spec.matching_precedence,
        distinguisher,
        rules: spec.rules,
        level: (*level).clone(),
    })
}
