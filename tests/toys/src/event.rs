//! From a world to an event: writes a record as a hit does, and renders it as the worker does.

use crate::inside::Place as Here;
use crate::json::Json;
use crate::kinds::Case;
use crate::outside::Code;
use crate::outside_writer::{self, Head};
use crate::runner::Vector;
use crate::value::{Dialect, World, bare};
use serde_json::Value as Event;
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::budget::gate::Gate;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::capture::walk::{self, Deadline, WalkContext};
use stroboscope_core::clock::ManualClock;
use stroboscope_core::emit::event::RenderContext;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::{event, render};
use stroboscope_core::expr::eval::{self, Budget, Scratch};
use stroboscope_core::expr::template::{Segment, Template};
use stroboscope_core::host::{FrameText, Language, Section, Site};
use stroboscope_core::intake::Judge;
use stroboscope_core::probe::model::{EvaluateAt, Kind, Location, Log, Probe};
use stroboscope_core::record::layout as lay;
use stroboscope_core::record::names::Tables;
use stroboscope_core::record::write::{Header, Place, Point, Writer};
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::text::Text;

/// The rules in a vector's `config`.
pub fn redaction(vector: &Vector) -> Result<Redaction, String> {
    Ok(Redaction::new(
        &vector.config("redacted_identifiers")?,
        &vector.config("redaction_excluded_identifiers")?,
        &vector.config("redacted_types")?,
    ))
}

/// True if the rules redact a class of Python's own: values of a toy have no class there.
pub fn redacts_built_in(redaction: &Redaction) -> bool {
    let names = ["object", "str", "int", "float", "bool", "bytes", "list", "tuple", "dict", "set", "NoneType"];
    names.iter().any(|name| redaction.type_names(Text::Utf8(&format!("builtins.{name}")), Text::Utf8(name)))
}

/// The limits in a vector's `limits`; what is not there is the default.
pub fn limits(vector: &Vector) -> Result<Limits, String> {
    let json = vector.json("limits")?.unwrap_or(Json::Null);
    let read = |name: &str, default: u32| match json.get(name) {
        Some(Json::Int(limit)) => u32::try_from(*limit).map_err(|_| format!("bad limit {name}")),
        _ => Ok(default),
    };
    let default = Limits::default();
    Ok(Limits {
        depth: read("maxReferenceDepth", default.depth)?,
        elements: read("maxCollectionSize", default.elements)?,
        length: read("maxLength", default.length)?,
        fields: read("maxFieldCount", default.fields)?,
    })
}

/// What a hit does with a world.
#[derive(Clone)]
pub struct Hit<'a> {
    /// The values.
    pub world: &'a World,
    /// The rules.
    pub redaction: &'a Redaction,
    /// The message.
    pub template: Template,
    /// The symbols of its expressions.
    pub symbols: Vec<String>,
    /// Captures the variables under these limits.
    pub capture: Option<Limits>,
}

/// Which host writes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The core's writer.
    Inside,
    /// [`crate::outside_writer`].
    Outside,
}

/// Both hosts.
pub const HOSTS: [Host; 2] = [Host::Inside, Host::Outside];

impl Hit<'_> {
    /// The bytes of the record that the inside host writes.
    pub fn record(&self) -> Vec<u8> {
        let clock = ManualClock::new(Duration::ZERO);
        let computed = self.world.dialect == Dialect::Node;
        let cx = WalkContext {
            redaction: self.redaction,
            clock: &clock,
            deadline: Deadline::At(u64::MAX),
            computed,
            strict: None,
        };
        let mut writer = Writer::new();
        writer.begin(&Header { wall: 1_790_000_000_123_000_000, event_id: [7; 16], ..Header::default() });
        let place = Here(self.world);
        let scope = Case::scope(&place);
        for (index, segment) in self.template.segments.iter().enumerate() {
            let Segment::Expression(expression) = segment else { continue };
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            let mut scratch = Scratch::default();
            let mut budget = Budget::new(&clock, 50_000_000, self.redaction, &mut scratch);
            match eval::evaluate(expression, &self.symbols, &scope, &mut budget) {
                Ok(operand) => walk::message(&mut writer, &cx, index, &operand),
                Err(failure) => writer.failure(Place::Segment(index), |out| failure.encode(out)),
            }
        }
        if let Some(limits) = &self.capture {
            writer.point(Point::Line(1));
            walk::section(&mut writer, &cx, &place, Section::Arguments, limits);
            writer.end_point();
        }
        writer.stack(&place);
        writer.finish().to_vec()
    }

    /// The categories of the message's failures, in order.
    pub fn failures(&self) -> Vec<&'static str> {
        let clock = ManualClock::new(Duration::ZERO);
        let place = Here(self.world);
        let scope = Case::scope(&place);
        let mut found = Vec::new();
        for segment in &self.template.segments {
            let Segment::Expression(expression) = segment else { continue };
            let mut scratch = Scratch::default();
            let mut budget = Budget::new(&clock, 50_000_000, self.redaction, &mut scratch);
            if let Err(failure) = eval::evaluate(expression, &self.symbols, &scope, &mut budget) {
                found.push(failure.category().name());
            }
        }
        found
    }

    /// The bytes of the record that the outside host writes; its names and verdicts are the judge's.
    pub fn record_outside(&self, judge: &mut Judge) -> Result<Vec<u8>, String> {
        let clock = ManualClock::new(Duration::ZERO);
        let mut ran = Vec::new();
        for (index, segment) in self.template.segments.iter().enumerate() {
            let Segment::Expression(expression) = segment else { continue };
            let code = Code::of(expression, &self.symbols)?;
            ran.push((index as u32, code.run(self.world, judge)));
        }
        let head = Head { wall: 1_790_000_000_123_000_000, event: [7; 16], ..Head::default() };
        let mut writer = outside_writer::Writer::new(self.world, judge, &clock, u64::MAX, &head);
        for (index, outcome) in &ran {
            match outcome {
                Ok(value) => writer.template(*index, value),
                Err(failure) => writer.failure(lay::PLACE_SEGMENT, *index, failure),
            }
        }
        if let Some(limits) = self.capture {
            writer.line(1);
            writer.section(lay::SECTION_ARGUMENTS);
            for (name, id) in self.world.vars.iter().filter(|(name, _)| !name.starts_with('@')) {
                if !writer.variable(name, *id, limits) {
                    break;
                }
            }
            writer.end_point();
        }
        writer.stack(&[]);
        Ok(writer.finish())
    }

    /// The event of the inside host.
    pub fn event(self) -> Result<event::Event, String> {
        self.event_of(Host::Inside)
    }

    /// The event of a host.
    pub fn event_of(self, host: Host) -> Result<event::Event, String> {
        let tables = Arc::new(Tables::new(Arc::new(self.redaction.clone())));
        let record = match host {
            Host::Inside => self.record(),
            Host::Outside => self.record_outside(&mut Judge::new(Arc::clone(&tables)))?,
        };
        for class in &self.world.classes {
            let name = class.names.first().map_or("", String::as_str);
            tables.intern_type(Text::Utf8(name), Text::Utf8(bare(name)), class.redacted);
        }
        let language = match self.world.dialect {
            Dialect::Neutral => Language::Other("toy"),
            Dialect::Python => Language::Python,
            Dialect::Node => Language::JavaScript,
        };
        let limits = self.capture.unwrap_or_default();
        let kind = Kind::Log(Log {
            template: self.template,
            snapshot: self.capture.is_some(),
            limits,
            expressions: Vec::new(),
        });
        let probe = Probe {
            id: "probe".to_owned(),
            version: 1,
            location: Location::Lines { file: "toy.py".to_owned(), lines: vec![1] },
            kind,
            when: None,
            evaluate_at: EvaluateAt::Exit,
            tags: Vec::new(),
            rate: 1.0,
            expires_at: None,
            symbols: self.symbols,
            warnings: Vec::new(),
        };
        let live = LiveProbe::new(Arc::new(probe), 0, Gate::new(1), None, false);
        live.set_site(Site { file: "/srv/toy.py".to_owned(), lines: vec![1], ..Site::default() });
        let identity = Identity { service: "toys".to_owned(), ..Identity::default() };
        let cx = RenderContext {
            identity: &identity,
            language,
            tables: &tables,
            live: &live,
            describe_frame: &|_| FrameText::default(),
            evaluation_ms: 50,
        };
        render::render(&record, &cx).map_err(|error| error.to_string())
    }
}

/// An event's JSON, read.
pub fn read(event: &event::Event) -> Result<Event, String> {
    serde_json::from_slice(&event.json).map_err(|error| format!("the event is not JSON: {error}"))
}

/// The captured variables of an event.
pub fn captured(event: &Event) -> &Event {
    &event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]
}
