//! Whole events: envelope, location, stack, exception, correlation, errors, in each language.
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are part of it")]

use serde_json::{Value as Json, json};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::budget::gate::Gate;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::capture::walk::{self, Deadline, WalkContext};
use stroboscope_core::clock::ManualClock;
use stroboscope_core::emit::event::{Event, RenderContext};
use stroboscope_core::emit::language::Profile;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::prune::prune;
use stroboscope_core::emit::render::{Renderer, render};
use stroboscope_core::expr::eval::{Failure, Operand};
use stroboscope_core::expr::template::{RawSegment, Template};
use stroboscope_core::expr::{Expression, Symbols};
use stroboscope_core::host::{Child, Frame, FrameText, Language, Name, Section, Site, StackFrame, Symbol, ThreadInfo};
use stroboscope_core::probe::model::{CaptureExpression, EvaluateAt, Kind, Location, Log, Probe};
use stroboscope_core::record::layout;
use stroboscope_core::record::names::Tables;
use stroboscope_core::record::write::{Header, Place, Point, Writer};
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::text::Text;
use stroboscope_toys::inside::{Handle, Place as Here};
use stroboscope_toys::json::Json as Source;
use stroboscope_toys::value::{Dialect, World};

/// A frame with a stack of two and a traceback of one.
struct Stacked<'f>(Here<'f>, u32);

impl<'f> Frame<'f> for Stacked<'f> {
    type Value = Handle<'f>;

    fn variable(&self, symbol: Symbol<'_>) -> Child<Handle<'f>> {
        self.0.variable(symbol)
    }

    fn section<F: FnMut(Name<'f>, Handle<'f>) -> ControlFlow<()>>(&self, section: Section, visit: F) {
        self.0.section(section, visit);
    }

    fn stack(&self, frames: &mut [StackFrame]) -> usize {
        let stack = (0..self.1).map(|position| StackFrame { code: 1, position });
        frames.iter_mut().zip(stack).map(|(place, frame)| *place = frame).count()
    }

    fn traceback<F: FnMut(StackFrame) -> ControlFlow<()>>(&self, _of: Handle<'f>, mut visit: F) {
        let _ = visit(StackFrame { code: 2, position: 9 });
    }

    fn thread(&self) -> ThreadInfo {
        ThreadInfo::default()
    }
}

struct Fixture {
    world: World,
    tables: Tables,
    live: LiveProbe,
    language: Language,
    frames: u32,
}

fn fixture(language: Language, method: bool) -> Fixture {
    let redaction = Arc::new(Redaction::default());
    let tables = Tables::new(Arc::clone(&redaction));
    tables.intern_name(Text::Utf8("worker-1"));
    let source = r#"{"a": 1, "e": {"$exception": {"class": "shop.Declined", "message": "no funds", "fields": {}}}}"#;
    let world = World::new(&Source::read(source).unwrap(), Dialect::Python, &redaction).unwrap().known_to(&tables);
    let mut symbols = Symbols::default();
    let segments = [("a", None), ("", Some(" of ")), ("nosuch", None)];
    let segments = segments.map(|(dsl, fixed)| RawSegment { fixed, dsl: Some(dsl), json: None });
    let template = Template::of_segments(segments, &mut symbols, &|_| false).unwrap();
    let compile = |text, symbols: &mut Symbols| Expression::compile(Some(text), None, symbols, &|_| false).unwrap();
    let when = Some(compile("broken", &mut symbols));
    let expression = compile("a.b", &mut symbols);
    let capture = CaptureExpression { name: "x.y".to_owned(), expression, limits: Limits::default() };
    let log = Log { template, snapshot: false, limits: Limits::default(), expressions: vec![capture] };
    let location = if method {
        let (type_name, method) = ("shop.Orders".to_owned(), "charge".to_owned());
        Location::Method { type_name, method, signature: None, file: None }
    } else {
        Location::Lines { file: "orders.py".to_owned(), lines: vec![41] }
    };
    let probe = Probe {
        id: "p\"1".to_owned(),
        version: 7,
        location,
        kind: Kind::Log(log),
        when,
        evaluate_at: EvaluateAt::Exit,
        tags: vec!["team:pay".to_owned(), "a:b".to_owned()],
        rate: 1.0,
        expires_at: None,
        symbols: symbols.into_names(),
        warnings: Vec::new(),
    };
    let live = LiveProbe::new(Arc::new(probe), 0, Gate::new(1), None, false);
    let site = Site {
        file: "/srv/orders.py".to_owned(),
        lines: if method { Vec::new() } else { vec![41] },
        type_name: "shop.Orders".to_owned(),
        method: "Orders.charge".to_owned(),
        function: "charge".to_owned(),
        ..Site::default()
    };
    live.set_site(site);
    Fixture { world, tables, live, language, frames: 2 }
}

impl Fixture {
    fn event(&self, trace_id: u128, write: impl FnOnce(&mut Writer, &WalkContext<'_>, &Stacked<'_>)) -> Event {
        let clock = ManualClock::new(Duration::ZERO);
        let redaction = Redaction::default();
        let cx = WalkContext {
            redaction: &redaction,
            clock: &clock,
            deadline: Deadline::At(u64::MAX),
            computed: false,
            strict: None,
        };
        let place = Stacked(Here(&self.world), self.frames);
        let mut writer = Writer::new();
        writer.begin(&Header {
            wall: 1_790_000_000_123_456_789,
            event_id: [0xFF; 16],
            thread: ThreadInfo { id: 31, name: 0 },
            trace_id,
            span_id: if trace_id == 0 { 0 } else { u64::MAX },
            duration: Some(690_211),
            ..Header::default()
        });
        write(&mut writer, &cx, &place);
        writer.stack(&place);
        let identity = Identity {
            service: "shop".to_owned(),
            hostname: "web-1".to_owned(),
            process_tags: "svc.user:true".to_owned(),
            ..Identity::default()
        };
        let frame = |frame: StackFrame| FrameText {
            file: format!("f{}.py", frame.code),
            function: "charge".to_owned(),
            line: frame.position + 1,
            column: 0,
        };
        let cx = RenderContext {
            identity: &identity,
            language: self.language,
            tables: &self.tables,
            live: &self.live,
            describe_frame: &frame,
            evaluation_ms: 50,
        };
        let record = writer.finish().to_vec();
        let event = render(&record, &cx).unwrap();
        same_without_places(&record, &cx, &event);
        event
    }

    fn value(&self, name: &str) -> Handle<'_> {
        Handle { world: &self.world, id: self.world.var(name).unwrap() }
    }
}

/// Written by a renderer that has seen nothing, and again by one that has seen all, an event is the same; a record that is
/// cut is refused.
fn same_without_places(record: &[u8], cx: &RenderContext<'_>, event: &Event) {
    let mut renderer = Renderer::new(Profile::of(cx.language));
    for _ in 0..2 {
        let outline = renderer.write(record, cx).unwrap();
        assert_eq!((outline.message, outline.site, outline.time), (&*event.message, &*event.site, event.time));
        assert_eq!(std::str::from_utf8(outline.json), std::str::from_utf8(&event.json));
    }
    let mut cut = record[..record.len() - 1].to_vec();
    let length = cut.len() as u32;
    cut[layout::AT_LENGTH..layout::AT_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
    assert!(renderer.write(&cut, cx).is_err());
}

fn read(event: &Event) -> Json {
    serde_json::from_slice(&event.json).unwrap()
}

fn frame(file: &str, line: u32) -> Json {
    json!({"fileName": file, "function": "charge", "lineNumber": line})
}

#[test]
fn a_method_that_threw_in_python() {
    let fixture = fixture(Language::Python, true);
    let event = fixture.event(0x6b00_f3f1_0000_0000_7fc7_9052_2f54_7bbe, |writer, cx, place| {
        walk::message(writer, cx, 0, &Operand::Host(fixture.value("a")));
        writer.failure(Place::Segment(2), |out| Failure::Variable(1).encode(out));
        writer.failure(Place::Expression(0), |out| Failure::Timeout.encode(out));
        writer.point(Point::Return);
        walk::section(writer, cx, place, Section::Arguments, &Limits::default());
        writer.section(Section::Locals);
        let exception = fixture.value("e");
        let _ = walk::named(writer, cx, Name::Text(Text::Utf8("@exception")), exception, &Limits::default());
        walk::throwable(writer, cx, place, exception);
        writer.end_point();
    });
    let declined = json!({"type": "Declined", "fields": {}});
    let wanted = json!({
        "ddsource": "dd_debugger", "service": "shop", "hostname": "web-1", "timestamp": 1_790_000_000_123_u64,
        "type": "snapshot", "message": "1 of {No such variable: 'nosuch'}", "duration": 690_211,
        "process_tags": "svc.user:true", "ddtags": "team:pay,a:b",
        "logger": {"name": "/srv/orders.py", "method": "charge", "version": 2, "thread_id": 31,
                   "thread_name": format!("worker-1;pid:{}", std::process::id())},
        "dd": {"trace_id": "6b00f3f1000000007fc790522f547bbe", "span_id": "18446744073709551615"},
        "debugger": {"snapshot": {
            "id": "ffffffff-ffff-4fff-bfff-ffffffffffff", "timestamp": 1_790_000_000_123_u64, "language": "python",
            "type": "snapshot", "duration": 690_211,
            "probe": {"id": "p\"1", "version": 7, "location": {"type": "shop.Orders", "method": "Orders.charge"}},
            "stack": [frame("f1.py", 1), frame("f1.py", 2)],
            "captures": {"return": {
                "arguments": {"a": {"type": "int", "value": "1"}, "e": declined},
                "locals": {"@exception": declined},
                "throwable": {"type": "Declined", "message": "no funds", "stacktrace": [frame("f2.py", 10)]},
            }},
            "evaluationErrors": [
                {"expr": "nosuch", "message": "No such variable: 'nosuch'"},
                {"expr": "x.y", "message": "Evaluation took longer than 50 ms"},
            ],
        }},
    });
    assert_eq!(read(&event), wanted);
    assert_eq!((event.message.as_str(), event.time), ("1 of {No such variable: 'nosuch'}", 1_790_000_000_123));
}

#[test]
fn a_line_has_no_duration_and_its_location_is_that_of_the_language() {
    let location = |language| {
        let event = fixture(language, false).event(0, |writer, _, _| {
            writer.point(Point::Line(41));
            writer.end_point();
        });
        let event = read(&event);
        assert_eq!((event.get("duration"), event.get("dd")), (None, None));
        assert_eq!(event["debugger"]["snapshot"]["captures"], json!({"lines": {"41": {}}}));
        let snapshot = &event["debugger"]["snapshot"];
        (snapshot["probe"]["location"].clone(), event["logger"]["name"].clone(), event["logger"]["thread_name"].clone())
    };
    let python = location(Language::Python);
    assert_eq!((python.0, python.1), (json!({"file": "/srv/orders.py", "lines": ["41"]}), json!("/srv/orders.py")));
    let node = location(Language::JavaScript);
    assert_eq!(node, (json!({"file": "orders.py", "lines": ["41"]}), json!("orders.py"), json!("worker-1")));
    let java = location(Language::Java);
    let place = json!({"type": "shop.Orders", "method": "Orders.charge", "file": "/srv/orders.py", "lines": ["41"]});
    assert_eq!((java.0, java.1), (place, json!("shop.Orders")));
}

#[test]
fn a_failed_condition_gives_its_text_and_no_captures() {
    let fixture = fixture(Language::Python, false);
    let event = fixture.event(5, |writer, cx, place| {
        writer.failure(Place::Condition, |out| Failure::RedactedName.encode(out));
        writer.mark_error();
        writer.point(Point::Line(41));
        walk::section(writer, cx, place, Section::Arguments, &Limits::default());
        writer.end_point();
    });
    let json = read(&event);
    let snapshot = &json["debugger"]["snapshot"];
    assert!(event.error && snapshot.get("captures").is_none());
    assert_eq!(json["message"], snapshot["evaluationErrors"][0]["message"]);
    assert_eq!(snapshot["evaluationErrors"][0]["expr"], "broken");
    assert_eq!(snapshot["stack"].as_array().unwrap().len(), 2);
    assert_eq!(json["dd"], json!({"trace_id": "5", "span_id": "18446744073709551615"}));
}

#[test]
fn a_template_out_of_time_ends_at_the_placeholder() {
    let fixture = fixture(Language::Python, false);
    let event = fixture.event(0, |writer, _, _| {
        writer.failure(Place::Segment(0), |out| Failure::Timeout.encode(out));
        writer.mark_error();
    });
    assert_eq!(event.message, "{Evaluation took longer than 50 ms}");
}

#[test]
fn capture_expressions_stand_in_their_own_section_and_a_dot_in_a_name_becomes_a_line() {
    let fixture = fixture(Language::Python, false);
    let event = fixture.event(0, |writer, cx, _| {
        writer.point(Point::Line(41));
        writer.expressions();
        let made: Operand<'_, Handle<'_>> = Operand::List(vec![Operand::Int(1), Operand::Text(Text::Utf8("x"))]);
        let _ = walk::operand(writer, cx, "x.y", &made, &Limits::default());
        let _ = walk::not_reached(writer, "later");
        writer.end_point();
    });
    let point = &read(&event)["debugger"]["snapshot"]["captures"]["lines"]["41"];
    let list = json!({"type": "list", "size": 2,
        "elements": [{"type": "int", "value": "1"}, {"type": "str", "value": "'x'"}]});
    assert_eq!(*point, json!({"captureExpressions": {"x_y": list, "later": {"notCapturedReason": "timeout"}}}));
}

#[test]
fn a_stack_has_128_frames_and_pruning_leaves_16_then_cuts_the_message() {
    let mut fixture = fixture(Language::Python, false);
    fixture.frames = 500;
    let long = "m".repeat(8000);
    let mut event = fixture.event(0, |writer, cx, _| {
        walk::message(writer, cx, 0, &Operand::<Handle<'_>>::Text(Text::Utf8(&long)));
    });
    assert_eq!(event.frames.len(), 128);
    let limit = event.json.len() - 2000;
    assert!(prune(&mut event.clone(), event.json.len()), "it fits as it is");
    let mut cut = event.clone();
    assert!(prune(&mut cut, limit) && cut.json.len() <= limit);
    assert_eq!(read(&cut)["debugger"]["snapshot"]["stack"].as_array().unwrap().len(), 16);
    assert_eq!(read(&cut)["message"].as_str().unwrap().len(), event.message.len());
    assert!(prune(&mut event, 4000));
    assert_eq!(read(&event)["message"].as_str().unwrap().chars().count(), 1025);
    assert!(read(&event)["message"].as_str().unwrap().ends_with('…'));
}
