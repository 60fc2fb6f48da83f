use std::marker::PhantomData;
use std::sync::Arc;

use bevy_app::{App, PreStartup};
use bevy_ecs::change_detection::Tick;
use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::*;
use hana_engine::playout::JitterBufferSettings;
use hana_network::{NodeConfig, ParameterStore};
use hana_protocol::id::role;
use hana_protocol::message::Look;
use hana_protocol::parameter::Parameter;

use crate::session::MeshSession;
use crate::visualization::active_override::ActiveOverride;
use crate::visualization::parameter_fields::ParameterFields;
use crate::visualization::parameters::{DeclaredField, ParameterStruct};
use crate::visualization::resume_on_bar::AwaitingBar;

/// The parameters of all structs, in the order in which the node announces them.
#[derive(Resource, Default)]
pub(crate) struct DeclaredParameters(Vec<DeclaredField>);

/// The parameters of one struct, shared by the network and the program.
#[derive(Resource)]
pub(crate) struct SharedParameters<P> {
    fields: ParameterFields,
    declared: Vec<Parameter>,
    /// The index of the struct's first parameter among all parameters of the node.
    first_place: usize,
    store: Option<Arc<ParameterStore>>,
    /// The initial values of a store: the defaults, or the last look of an earlier instance.
    initial: Vec<f32>,
    /// The version of the store that the program has seen.
    seen: u64,
    /// All values of the node that the network and the program last agreed on; kept so that no frame allocates.
    agreed: Vec<f32>,
    /// The tick of the resource's last change that the network and the program agree on.
    agreed_at: Option<Tick>,
    parameters: PhantomData<fn(P)>,
}

impl DeclaredParameters {
    /// Declares the parameters of a struct, and inserts it as a resource. Returns `false` if the struct was declared
    /// before.
    pub(crate) fn add<P>(app: &mut App) -> bool
    where
        P: Resource<Mutability = Mutable> + ParameterStruct,
    {
        if app.world().contains_resource::<SharedParameters<P>>() {
            return false;
        }
        app.init_resource::<P>().add_systems(PreStartup, restore::<P>);
        let mut all = app.world_mut().get_resource_or_init::<Self>();
        let first_place = all.0.iter().map(|field| field.parameters.len()).sum();
        let mut fields = DeclaredField::all_of::<P>();
        fields.retain(|field| {
            let taken = field.parameters.iter().find(|parameter| all.has(parameter));
            if let Some(Parameter { name, .. }) = taken {
                tracing::error!(
                    "'{name}' of {} is no parameter: another struct of the program has a parameter of that name; rename one of the two fields",
                    P::type_path()
                );
            }
            taken.is_none()
        });
        let shared = SharedParameters::<P> {
            fields: ParameterFields(fields.iter().map(|field| field.index).collect()),
            declared: fields.iter().flat_map(|field| field.parameters.clone()).collect(),
            first_place,
            store: None,
            initial: vec![],
            seen: 0,
            agreed: vec![],
            agreed_at: None,
            parameters: PhantomData,
        };
        all.0.append(&mut fields);
        app.insert_resource(shared);
        true
    }

    fn has(&self, parameter: &Parameter) -> bool {
        let mut known = self.0.iter().flat_map(|field| &field.parameters);
        known.any(|known| known.name == parameter.name)
    }

    /// Announces all parameters and their playout settings.
    pub(crate) fn announce(&self, config: NodeConfig, usual: JitterBufferSettings) -> NodeConfig {
        let all = self.0.iter().flat_map(|field| field.parameters.clone()).collect();
        let mut config = config.with_parameters(all).with_playout(usual);
        for field in &self.0 {
            let Some(playout) = field.playout(usual) else { continue };
            for parameter in &field.parameters {
                config = config.with_playout_of(parameter.name.clone(), playout);
            }
        }
        config
    }
}

/// Restores the last look of an earlier instance before the first frame.
fn restore<P: Resource<Mutability = Mutable> + ParameterStruct>(
    session: Option<Res<MeshSession<role::Visualization>>>,
    mut shared: ResMut<SharedParameters<P>>,
    mut parameters: ResMut<P>,
) {
    let shared = &mut *shared;
    let look = session.and_then(|session| session.last_look().cloned()).unwrap_or_default();
    shared.initial = first_values(&shared.declared, &look);
    let values: Vec<f32> = shared
        .fields
        .read(&*parameters)
        .zip(&shared.declared)
        .map(|(value, parameter)| last_value(parameter, &look).unwrap_or(value))
        .collect();
    shared.fields.write(&mut *parameters, &values);
}

/// Returns the initial values of a store.
fn first_values(declared: &[Parameter], look: &Look) -> Vec<f32> {
    let of = |parameter: &Parameter| last_value(parameter, look).unwrap_or(parameter.default);
    declared.iter().map(of).collect()
}

/// Returns the value that an earlier instance last showed, if it is still valid.
fn last_value(parameter: &Parameter, look: &Look) -> Option<f32> {
    let last = look.parameters.get(&parameter.name)?;
    parameter.check(*last).ok()
}

/// Returns the values with which the program joins.
///
/// A value that the program changed before joining is kept. The others come from the store, where they may have
/// changed already.
fn joined(own: impl Iterator<Item = f32>, first: &[f32], store: &[f32]) -> Vec<f32> {
    let of = |((own, first), store): ((f32, &f32), &f32)| {
        if own.to_bits() == first.to_bits() { *store } else { own }
    };
    own.zip(first).zip(store).map(of).collect()
}

/// Writes played values into the program's resource.
pub(crate) fn receive<P: Resource<Mutability = Mutable> + ParameterStruct>(
    session: Res<MeshSession<role::Visualization>>,
    mut shared: ResMut<SharedParameters<P>>,
    mut parameters: ResMut<P>,
    mut active_override: ResMut<ActiveOverride>,
    awaiting_bar: Option<Res<AwaitingBar>>,
) {
    let shared = &mut *shared;
    let Some(node) = session.node() else {
        shared.store = None;
        return;
    };
    if shared.store.is_none() {
        shared.store = Some(Arc::clone(node.parameters()));
        shared.seen = 0;
    }
    let Some(store) = &shared.store else { return };
    store.set_presentation_delay(session.frame_clock.shown_after());
    let version = store.read_if_changed(shared.seen, &mut shared.agreed);
    if version != shared.seen && awaiting_bar.is_none() {
        active_override.set_if_neq(ActiveOverride(store.override_mode()));
    }
    let played = shared.agreed.get(shared.first_place..).unwrap_or_default();
    if shared.seen == 0 {
        let values = joined(shared.fields.read(&*parameters), &shared.initial, played);
        shared.fields.write(&mut *parameters, &values);
        shared.agreed_at = None;
    } else if version != shared.seen {
        shared.fields.write(&mut *parameters, played);
        shared.agreed_at = Some(parameters.last_changed());
    }
    shared.seen = version;
}

/// Publishes the program's own changes.
pub(crate) fn send<P: Resource + ParameterStruct>(
    mut shared: ResMut<SharedParameters<P>>,
    parameters: Res<P>,
) {
    let shared = &mut *shared;
    let Some(store) = &shared.store else { return };
    let changed_at = parameters.last_changed();
    if shared.agreed_at.replace(changed_at) == Some(changed_at) {
        return;
    }
    let values = shared.fields.read(&*parameters);
    let agreed = shared.agreed.iter_mut().skip(shared.first_place);
    for ((value, agreed), declared) in values.zip(agreed).zip(&shared.declared) {
        if value.to_bits() == agreed.to_bits() {
            continue;
        }
        *agreed = value;
        if let Err(problem) = store.set(&declared.name, value) {
            tracing::warn!("cannot show the program's own value: {problem}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use bevy_reflect::Reflect;

    use super::*;
    use crate::{HanaAppExt, VisualizationPlugin};

    #[derive(Resource, Reflect, Default)]
    struct Sky {
        brightness: f32,
        stars: f32,
    }

    #[derive(Resource, Reflect, Default)]
    struct Ring {
        speed: f32,
        brightness: f32,
        lit: bool,
    }

    fn names(app: &App) -> Vec<String> {
        let all = &app.world().resource::<DeclaredParameters>().0;
        let parameters = all.iter().flat_map(|field| &field.parameters);
        parameters.map(|parameter| parameter.name.to_string()).collect()
    }

    fn write(app: &mut App, values: &[f32]) {
        app.world_mut().resource_scope(|world, shared: Mut<SharedParameters<Ring>>| {
            let played = &values[shared.first_place..];
            shared.fields.write(&mut *world.resource_mut::<Ring>(), played);
        });
    }

    #[test]
    fn structs_are_declared_before_or_after_the_plugin() {
        let mut before = App::new();
        before.add_parameters::<Ring>().add_plugins(VisualizationPlugin::<Sky>::new("sky"));
        assert_eq!(names(&before), ["speed", "brightness", "lit", "stars"]);
        let mut after = App::new();
        after.add_plugins(VisualizationPlugin::<Sky>::new("sky")).add_parameters::<Ring>();
        after.add_parameters::<Ring>().add_parameters::<Sky>();
        assert_eq!(names(&after), ["brightness", "stars", "speed", "lit"]);
        after.world_mut().run_schedule(PreStartup);
        assert_eq!(after.world().resource::<SharedParameters<Ring>>().initial, [0.0, 0.0]);
    }

    #[test]
    fn a_struct_takes_only_the_values_of_its_own_parameters() {
        let mut app = App::new();
        app.add_plugins(VisualizationPlugin::<Sky>::new("sky")).add_parameters::<Ring>();
        write(&mut app, &[0.1, 0.2, 0.3, 1.0]);
        let Ring { speed, brightness, lit } = *app.world().resource::<Ring>();
        // The parameter `brightness` belongs to `Sky`, which declared it first.
        assert_eq!((speed, brightness, lit), (0.3, 0.0, true));
    }

    #[test]
    fn values_set_before_the_first_frame_are_not_the_programs_own() {
        // The first value has changed only in the store, the second only in the program; the third is unchanged.
        let values = joined([0.0, 0.5, 1.0].into_iter(), &[0.0, 0.0, 1.0], &[0.25, 0.0, 1.0]);
        assert_eq!(values, [0.25, 0.5, 1.0]);
    }
}
