//! The kinds of questions.

use std::{collections::BTreeSet, fmt::Debug, hash::Hash};

use meshkit_policy::inbound;
use meshkit_wire::{
    Refused,
    extension::FaultPlan,
    outbound::{self, Target},
};

use super::{Board, Boards};
use crate::{
    inbound::Port,
    model::Model,
    outbound::Subject,
    remark::Remark,
    view::{Changes, View},
    workload::Workload,
};

/// A kind of questions, and how they are answered.
pub(super) trait Topic: Sized + 'static {
    /// What is asked.
    type Question: Clone + Debug + Eq + Hash + Send + Sync + 'static;
    /// What it is about: questions about the same have the same answer.
    type Subject: Clone + Debug + Eq + Hash;
    /// What is answered.
    type Answer: Debug + PartialEq;

    /// What a question is about.
    fn subject(model: &Model<'_>, question: &Self::Question) -> Result<Self::Subject, Refused>;

    /// May a question be about something else after these changes?
    fn is_moved(changes: &Changes, question: &Self::Question) -> bool;

    /// The answer.
    fn answer(model: &Model<'_>, subject: &Self::Subject) -> Self::Answer;

    /// What it looks at and has no effect; another kind of questions may have said so.
    fn remarks(model: &Model<'_>, subject: &Self::Subject) -> Vec<Remark> {
        let _ = (model, subject);
        Vec::new()
    }

    /// The namespaces of all objects that the answer looks at.
    fn scope(view: &View, subject: &Self::Subject) -> BTreeSet<String>;

    /// The namespaces in which an answer may have changed.
    fn changed(changes: &Changes) -> &BTreeSet<String>;

    /// Where they are.
    fn board(boards: &mut Boards) -> &mut Board<Self>;
}

#[derive(Debug)]
pub(super) struct InboundPolicy;
#[derive(Debug)]
pub(super) struct OutboundPolicy;
#[derive(Debug)]
pub(super) struct InboundFaults;
#[derive(Debug)]
pub(super) struct OutboundFaults;

/// What is asked about a port.
type OfPort = (Workload, u16);
/// What is asked about a target: of the client, only the namespace matters.
type OfTarget = (String, Target);

macro_rules! of_port {
    ($topic:ident, $answer:ty, $board:ident, $method:ident $(, $remarks:ident)?) => {
        impl Topic for $topic {
            type Question = OfPort;
            type Subject = Port;
            type Answer = $answer;

            fn subject(model: &Model<'_>, (workload, port): &OfPort) -> Result<Port, Refused> {
                model.port(workload, *port)
            }

            fn is_moved(changes: &Changes, (workload, _): &OfPort) -> bool {
                changes.workloads.contains(&workload.namespace) || changes.inbound.contains(&workload.namespace)
            }

            fn answer(model: &Model<'_>, port: &Port) -> $answer {
                model.$method(port)
            }

            $(fn remarks(model: &Model<'_>, port: &Port) -> Vec<Remark> {
                model.$remarks(port)
            })?

            fn scope(view: &View, port: &Port) -> BTreeSet<String> {
                view.inbound_scope(port.namespace())
            }

            fn changed(changes: &Changes) -> &BTreeSet<String> {
                &changes.inbound
            }

            fn board(boards: &mut Boards) -> &mut Board<Self> {
                &mut boards.$board
            }
        }
    };
}

macro_rules! of_target {
    ($topic:ident, $answer:ty, $board:ident, $method:ident $(, $remarks:ident)?) => {
        impl Topic for $topic {
            type Question = OfTarget;
            type Subject = Subject;
            type Answer = $answer;

            fn subject(model: &Model<'_>, (namespace, target): &OfTarget) -> Result<Subject, Refused> {
                model.subject(namespace, target)
            }

            fn is_moved(changes: &Changes, _: &OfTarget) -> bool {
                // Another Service may have the address now.
                !changes.outbound.is_empty()
            }

            fn answer(model: &Model<'_>, subject: &Subject) -> $answer {
                model.$method(subject)
            }

            $(fn remarks(model: &Model<'_>, subject: &Subject) -> Vec<Remark> {
                model.$remarks(subject)
            })?

            fn scope(view: &View, subject: &Subject) -> BTreeSet<String> {
                subject.destination().parent().map(|(parent, _)| view.outbound_scope(&parent)).unwrap_or_default()
            }

            fn changed(changes: &Changes) -> &BTreeSet<String> {
                &changes.outbound
            }

            fn board(boards: &mut Boards) -> &mut Board<Self> {
                &mut boards.$board
            }
        }
    };
}

of_port!(InboundPolicy, inbound::Policy, inbound, inbound, inbound_remarks);
of_port!(InboundFaults, FaultPlan, inbound_faults, inbound_faults);
of_target!(OutboundPolicy, outbound::Policy, outbound, outbound, outbound_remarks);
of_target!(OutboundFaults, FaultPlan, outbound_faults, outbound_faults);
