//! An operator: custom resources make ConfigMaps, which follow them until both go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::ConfigMap,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use knarr_json::json;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind, Object},
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        finalizer::{self, finalizer},
        reflector,
        wait::{await_condition, conditions},
        watcher,
    },
};
use serde::{Deserialize, Serialize};

use super::{common::Server, definition, until, version};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Spec {
    colour: String,
    level: i64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    observed_generation: i64,
    map: String,
}

type Lamp = Object<Spec, Status>;

fn lamps() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Lamp"))
}

fn lamp(name: &str, colour: &str) -> Lamp {
    let spec = Spec {
        colour: colour.into(),
        level: 1,
    };
    Lamp::new(name, &lamps(), spec)
}

struct Context {
    lamps: Api<Lamp>,
    maps: Api<ConfigMap>,
    runs: AtomicUsize,
    failures: AtomicUsize,
}

async fn apply(lamp: Arc<Lamp>, context: &Context) -> kube::Result<Action> {
    let name = lamp.name_any();
    let owner = lamp.controller_owner_ref(&lamps()).unwrap();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "data": {"colour": lamp.spec.colour, "level": lamp.spec.level.to_string()},
    });
    let manager = PatchParams::apply("lamps").force();
    context
        .maps
        .patch(&name, &manager, &Patch::Apply(map))
        .await?;
    let status = json!({"status": {"observedGeneration": lamp.meta().generation, "map": name}});
    context
        .lamps
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(Action::requeue(Duration::from_millis(500)))
}

async fn clean(lamp: Arc<Lamp>, context: &Context) -> kube::Result<Action> {
    let (name, now) = (lamp.name_any(), DeleteParams::default());
    match context.maps.delete(&name, &now).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => drop(other?),
    }
    Ok(Action::await_change())
}

async fn reconcile(
    lamp: Arc<Lamp>,
    context: Arc<Context>,
) -> Result<Action, finalizer::Error<kube::Error>> {
    context.runs.fetch_add(1, Ordering::Relaxed);
    let work = |event| async {
        match event {
            finalizer::Event::Apply(lamp) => apply(lamp, &context).await,
            finalizer::Event::Cleanup(lamp) => clean(lamp, &context).await,
        }
    };
    finalizer(&context.lamps, "example.com/lamps", lamp, work).await
}

/// The definition by kube's own type, awaited by kube's own condition.
async fn define(client: &kube::Client) {
    let spec = json!({"colour": {"type": "string"}, "level": {"type": "integer", "default": 1}});
    let crd = definition("Lamp", json!([version("v1", true, spec)]));
    let crd: CustomResourceDefinition = knarr_json::from_value(crd).unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &crd).await.unwrap();
    let established = await_condition(crds, "lamps.example.com", conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(5), established)
        .await
        .expect("established in time")
        .unwrap();
    // It is served a moment after it says so, as with the original.
    let lamps: Api<Lamp> = Api::all_with(client.clone(), &lamps());
    until(|| async { lamps.list(&Default::default()).await.is_ok() }).await;
}

/// Runs an operator whose watches last as long as `config` says, and does to its resources what users do.
async fn operate(config: watcher::Config) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    define(&client).await;
    let context = Arc::new(Context {
        lamps: Api::namespaced_with(client.clone(), "default", &lamps()),
        maps: Api::namespaced(client.clone(), "default"),
        runs: AtomicUsize::new(0),
        failures: AtomicUsize::new(0),
    });
    let (api, maps) = (context.lamps.clone(), context.maps.clone());
    let on_error = |_: Arc<Lamp>, error: &finalizer::Error<kube::Error>, context: Arc<Context>| {
        println!("{error:?}");
        // Whoever hears of the map's end first may work on what is gone already.
        let gone = matches!(
            error,
            finalizer::Error::RemoveFinalizer(kube::Error::Api(status)) if status.code == 404
        );
        context
            .failures
            .fetch_add(usize::from(!gone), Ordering::Relaxed);
        Action::requeue(Duration::from_millis(100))
    };
    let controller = Controller::new_with(api.clone(), config.clone(), lamps())
        .owns(maps.clone(), config)
        .run(reconcile, on_error, context.clone())
        .for_each(|_| async {});
    let controller = tokio::spawn(controller);

    for name in ["a", "b"] {
        let made = api.create(&PostParams::default(), &lamp(name, "red")).await;
        made.unwrap();
    }
    let map_is = async |name: &str, colour: &str| {
        until(|| async {
            let map = maps.get_opt(name).await.unwrap();
            map.and_then(|m| m.data?.get("colour").cloned()) == Some(colour.into())
        })
        .await;
    };
    let observed = async |name: &str, generation: i64| {
        until(|| async {
            let status = api.get(name).await.unwrap().status;
            status.is_some_and(|s| s.observed_generation == generation && s.map == name)
        })
        .await;
    };
    for name in ["a", "b"] {
        map_is(name, "red").await;
        observed(name, 1).await;
        let owners = maps.get(name).await.unwrap().metadata.owner_references;
        let lamp = api.get(name).await.unwrap();
        assert_eq!(owners.unwrap()[0].uid, lamp.uid().unwrap());
        assert_eq!(lamp.finalizers(), ["example.com/lamps"]);
    }
    // What it owns comes back.
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    map_is("a", "red").await;
    // It is asked again though nothing happens.
    let before = context.runs.load(Ordering::Relaxed);
    until(|| async { context.runs.load(Ordering::Relaxed) >= before + 4 }).await;
    // Watches have ended by now and were begun anew, where they were.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let change = Patch::Merge(json!({"spec": {"colour": "blue"}}));
    api.patch("b", &PatchParams::default(), &change)
        .await
        .unwrap();
    map_is("b", "blue").await;
    observed("b", 2).await;
    // Deletion waits for the finalizer.
    let deleted = api.delete("b", &DeleteParams::default()).await.unwrap();
    assert!(
        deleted
            .left()
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    until(|| async { api.get_opt("b").await.unwrap().is_none() }).await;
    assert!(maps.get_opt("b").await.unwrap().is_none());
    assert!(api.get_opt("a").await.unwrap().is_some());
    assert_eq!(context.failures.load(Ordering::Relaxed), 0);
    controller.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_and_watches() {
    operate(watcher::Config::default().timeout(2).page_size(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_streams_its_lists() {
    operate(watcher::Config::default().timeout(2).streaming_lists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_mirrors_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    define(&client).await;
    let api: Api<Lamp> = Api::namespaced_with(client.clone(), "default", &lamps());
    for n in 0..30 {
        let made = lamp(&format!("l{n:02}"), "red");
        api.create(&PostParams::default(), &made).await.unwrap();
    }
    let writer = reflector::store::Writer::new(lamps());
    let store = writer.as_reader();
    let config = watcher::Config::default().streaming_lists().timeout(1);
    let events = watcher(api.clone(), config).reflect(writer);
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let mirror = tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let _ = sender.send(event.map_err(|e| e.to_string()));
        }
    });
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(10), seen.recv()).await;
        event.expect("in time").unwrap().expect("no failure")
    };
    assert!(matches!(next().await, watcher::Event::Init));
    for n in 0..30 {
        match next().await {
            watcher::Event::InitApply(lamp) => assert_eq!(lamp.name_any(), format!("l{n:02}")),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(next().await, watcher::Event::InitDone));
    assert_eq!(store.state().len(), 30);
    // The watch ends every second: it goes on without a list and without a gap.
    for n in 0..6 {
        let name = format!("l{n:02}");
        if n % 2 == 0 {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
            match next().await {
                watcher::Event::Delete(lamp) => assert_eq!(lamp.name_any(), name),
                other => panic!("{other:?}"),
            }
        } else {
            let change = Patch::Merge(json!({"spec": {"level": 7}}));
            let patched = api.patch(&name, &PatchParams::default(), &change).await;
            patched.unwrap();
            match next().await {
                watcher::Event::Apply(lamp) => {
                    assert_eq!((lamp.name_any(), lamp.spec.level), (name, 7))
                }
                other => panic!("{other:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(store.state().len(), 27);
    mirror.abort();
    server.stop().await;
}
