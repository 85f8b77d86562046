//! What remote configuration changes in a session. On the walk of a configuration going in, after `control/remote/client.rs` and
//! before `registry.rs`. The thread that polls is in `sender.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Change, Changes, Session, Shared};
use crate::control::remote::client::{Client, Host, Known, Owner, Sent};
use crate::control::remote::held::Tracer;
use crate::control::remote::hex;
use crate::control::remote::sources::Sources;
use crate::emit::output::Identity;
use crate::host::Language;
use crate::probe::wire::{self, Body, Definition, Rejected};
use crate::sender::Sender;
use crate::sender::poll::Poller;

/// How long an end waits for the thread that polls.
const END: Duration = Duration::from_millis(100);

/// What a child of a fork goes on from: whose each probe is, and what the client knows.
#[derive(Debug)]
pub struct Origins {
    known: Option<Known>,
    sources: Sources,
}

/// Remote configuration of a session.
pub(super) struct Remote {
    poller: Poller,
    tracer: Tracer,
    is_child: bool,
}

impl Remote {
    /// That of a session, if its sender is to poll.
    pub(super) fn of(sender: &Sender, shared: &Shared, identity: &Identity) -> Option<Remote> {
        let poller = sender.poller()?;
        Some(Remote { poller, tracer: tracer(shared, identity), is_child: identity.parent_id.is_some() })
    }

    /// Starts to poll: at once, or in a child of a fork when it has lived as long as an interval.
    pub(super) fn begin(&self, changes: &Arc<Changes>) {
        self.poller.begin(self.tracer.clone(), Box::new(RemoteHost(Arc::clone(changes))), self.is_child);
    }

    /// Polls no more, and changes nothing any more.
    pub(super) fn end(&self) {
        self.poller.end(END);
    }
}

/// Who asks.
fn tracer(shared: &Shared, identity: &Identity) -> Tracer {
    let settings = &shared.settings;
    let language = match shared.language {
        Language::JavaScript => "node",
        other => other.wire_name(),
    };
    // Made of the runtime's, which every process has of its own: another one each time, and not the same.
    let hash = Sha256::digest(format!("remote configuration of {}", identity.runtime_id));
    let digits = hex(&hash[..16]);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let client_id = format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (env, app_version) = (text(&settings.env), text(&settings.version));
    let tracer_version = env!("CARGO_PKG_VERSION").to_owned();
    let git = |value: &Option<String>| if settings.git_metadata_enabled { text(value) } else { String::new() };
    let own: [(&str, &str); 9] = [
        ("env", env.as_str()),
        ("version", &app_version),
        ("tracer_version", &tracer_version),
        ("host_name", &identity.hostname),
        ("git.commit.sha", &git(&settings.git_commit_sha)),
        ("git.repository_url", &git(&settings.git_repository_url)),
        ("runtime-id", &identity.runtime_id),
        ("_dd.rc.client_id", &client_id),
        ("parent_runtime_id", identity.parent_id.as_deref().unwrap_or_default()),
    ];
    let users = settings.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let tags = users.chain(own).filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!("{key}:{value}"));
    Tracer {
        tags: tags.collect(),
        runtime_id: identity.runtime_id.clone(),
        language: language.to_owned(),
        tracer_version,
        service: identity.service.clone(),
        env,
        app_version,
        process_tags: identity.process_tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        client_id,
        has_symbols: shared.symbols.may_go(),
    }
}

/// What remote configuration does to a session.
pub struct RemoteHost(Arc<Changes>);

impl Host for RemoteHost {
    fn commit(&mut self, removed: &[String], files: &[Sent<'_>]) -> Vec<Option<String>> {
        self.0.commit(removed, files)
    }

    fn switch(&mut self, on: bool) {
        self.0.switch(on);
    }

    fn upload_symbols(&mut self, wanted: bool) {
        self.0.upload_symbols(wanted);
    }
}

impl Owner for RemoteHost {
    fn inherited(&mut self) -> Option<Known> {
        self.0.origins.load().as_ref().and_then(|origins| origins.known.clone())
    }

    fn knows(&mut self, client: &Client) {
        let sources = self.0.order().clone();
        self.0.origins.store(Some(Arc::new(Origins { known: Some(client.known().clone()), sources })));
    }
}

impl Session {
    /// What a child of a fork goes on from: to be asked of the parent's session, in the child.
    pub fn origins(&self) -> Option<Arc<Origins>> {
        self.changes.origins.load_full()
    }

    /// In a forked child, before [`Session::adopt`]: goes on from what the parent's remote configuration came to.
    pub fn inherit(&self, origins: Option<Arc<Origins>>) {
        if let Some(origins) = origins {
            *self.changes.order() = origins.sources.clone();
            self.changes.origins.store(Some(origins));
        }
    }

    /// What an own client of remote configuration changes this session by: for tests that move the clock by hand.
    pub fn remote_host(&self) -> RemoteHost {
        RemoteHost(Arc::clone(&self.changes))
    }
}

/// The definition in a file; where it cannot even be told which probe it is, the id of the file does.
fn read(file: &Sent<'_>) -> Result<Definition, Rejected> {
    let known =
        |rejected: Rejected| Rejected { id: rejected.id.or_else(|| wire::probe_of_config(file.id)), ..rejected };
    match std::str::from_utf8(file.bytes) {
        Ok(text) => wire::read_definition(text, Some(file.id)).map_err(known),
        Err(_) => Err(known(Rejected { id: None, version: 0, text: "the definition is not UTF-8 text".to_owned() })),
    }
}

impl Changes {
    /// Those of the program's definitions that go in force now. Others wait.
    pub(super) fn without_waiting(
        &self,
        sources: &mut Sources,
        definitions: Vec<Result<Definition, Rejected>>,
    ) -> Vec<Result<Definition, Rejected>> {
        let mut rest = Vec::with_capacity(definitions.len());
        for definition in definitions {
            let id = match &definition {
                Ok(definition) if !matches!(definition.body, Body::Service(_)) => Some(&definition.id),
                Ok(_) => None,
                Err(rejected) => rejected.id.as_ref(),
            };
            if id.is_none_or(|id| !sources.keeps_waiting(id)) {
                rest.push(definition);
                continue;
            }
            let why = if sources.off { "probes are switched off" } else { "another one of this id is in force" };
            match definition {
                Ok(definition) => match self.compiled(&definition) {
                    Ok(probe) => {
                        log::info!(target: "stroboscope", "probe {}: {why} by remote configuration; it waits", probe.id);
                        sources.wait(Arc::new(probe));
                    }
                    Err((_, text)) => {
                        log::warn!(target: "stroboscope", "probe {} is not used: {text}", definition.id);
                    }
                },
                Err(rejected) => {
                    log::warn!(target: "stroboscope", "a probe definition is not used: {}", rejected.text);
                }
            }
        }
        rest
    }

    /// Remote configuration changes some files: all at once.
    fn commit(&self, removed: &[String], files: &[Sent<'_>]) -> Vec<Option<String>> {
        let mut sources = self.order();
        let (before, old) = (sources.remote(), sources.clone());
        let mut gone: Vec<String> = removed.iter().filter_map(|path| sources.release(path)).collect();
        gone.extend(files.iter().filter_map(|file| sources.release(file.path)));

        let mut faults: Vec<Option<String>> = vec![None; files.len()];
        // By the place of its file.
        let mut definitions = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            let read = read(file);
            let id = match &read {
                Ok(definition) => Some(definition.id.clone()),
                Err(rejected) => rejected.id.clone(),
            };
            let claimed = id.map(|id| sources.claim(file.path, &id).map_err(|other| (id, other)));
            match (claimed, read) {
                (None, Err(rejected)) => faults[at] = Some(rejected.text),
                (Some(Err((id, other))), _) => {
                    faults[at] = Some(format!("the id '{id}' is that of the probe in {other}"));
                }
                (_, read) => {
                    definitions.insert(at, read);
                }
            }
        }
        gone.sort();
        gone.dedup();
        gone.retain(|id| !sources.is_remote(id));
        self.let_wait(&mut sources, definitions.values(), &before);
        let back: Vec<_> = gone.iter().filter_map(|id| sources.take(id)).collect();
        gone.retain(|id| !back.iter().any(|probe| probe.id == *id));
        let (places, definitions): (Vec<usize>, Vec<_>) = definitions.into_iter().unzip();
        self.pass_on_both(&old, &sources);
        let changed = self.change(Change { definitions, replaces: true, gone, back });
        for (at, fault) in places.into_iter().zip(changed.faults) {
            faults[at] = fault;
        }
        faults
    }

    /// A fork in the middle of a change finds probes of before and of after in force: its child is told of both that they came
    /// by remote configuration, so that they can be taken back from it.
    fn pass_on_both(&self, old: &Sources, new: &Sources) {
        let known = self.origins.load().as_ref().and_then(|origins| origins.known.clone());
        self.origins.store(Some(Arc::new(Origins { known, sources: new.with(old) })));
    }

    /// The program's probes of these ids wait from now on.
    fn let_wait<'a>(
        &self,
        sources: &mut Sources,
        definitions: impl Iterator<Item = &'a Result<Definition, Rejected>>,
        before: &std::collections::HashSet<String>,
    ) {
        let set = self.shared.registry.load();
        for definition in definitions {
            let id = match definition {
                Ok(definition) => &definition.id,
                Err(Rejected { id: Some(id), .. }) => id,
                Err(Rejected { id: None, .. }) => continue,
            };
            if before.contains(id) {
                continue;
            }
            let blocked = || self.shared.blocked().get(id).map(|blocked| Arc::clone(&blocked.probe));
            if let Some(probe) = set.get(id).map(|live| Arc::clone(&live.probe)).or_else(blocked) {
                sources.wait(probe);
            }
        }
    }

    /// Remote configuration asks for symbols, or no more; those that were asked for by a setting go on.
    fn upload_symbols(&self, wanted: bool) {
        if !self.shared.settings.symbol_database_force_upload {
            self.shared.symbols.want(wanted);
            self.wake();
        }
    }

    /// Remote configuration switches probes on or off. The program's own wait meanwhile.
    fn switch(&self, on: bool) {
        let mut sources = self.order();
        sources.off = !on;
        if on {
            let back = sources.take_all();
            self.change(Change { back, ..Change::default() });
            return;
        }
        let gone: Vec<String> = self.shared.board().all().map(|(id, _)| id.to_owned()).collect();
        let live = self.shared.registry.load().probes.iter().map(|live| Arc::clone(&live.probe)).collect::<Vec<_>>();
        let blocked = self.shared.blocked().values().map(|blocked| Arc::clone(&blocked.probe)).collect::<Vec<_>>();
        for probe in live.into_iter().chain(blocked) {
            if !sources.is_remote(&probe.id) {
                sources.wait(probe);
            }
        }
        let service = self.shared.service.load().id.clone();
        let gone = gone.into_iter().chain(Some(service).filter(|id| sources.is_remote(id))).collect();
        sources.release_all();
        self.change(Change { gone, ..Change::default() });
    }
}
