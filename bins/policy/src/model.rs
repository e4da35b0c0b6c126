//! The semantics of the controller.

use crate::{mesh::Mesh, settings::Settings, view::View};

/// The semantics of the controller: everything that it answers, as a function of the objects of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    pub(crate) view: &'a View,
    pub(crate) mesh: &'a Mesh,
    pub(crate) settings: &'a Settings,
}

impl<'a> Model<'a> {
    /// What is to be said of a view.
    #[must_use]
    pub const fn new(view: &'a View, mesh: &'a Mesh, settings: &'a Settings) -> Self {
        Self { view, mesh, settings }
    }

    /// The objects.
    #[must_use]
    pub const fn view(&self) -> &'a View {
        self.view
    }
}
