//! A model as one file that says all there is to know of it.
//!
//! ```text
//! safetensors: header { tensors: name → type, shape, place;  metadata: aquatint.model → JSON }, then numbers
//! ```
//!
//! The JSON holds the format's version, the architecture and the encoding. There
//! is no time and no chance in it: what was learned alike is the same file, under
//! the same digest.
//!
//! A file may come from anywhere. So its size, its header and every number in the
//! JSON are judged first; then the architecture says which tensors there must be,
//! and only what fits to the last dimension is read.

use std::collections::{BTreeMap, HashMap};

use aquatint_engine::task::TaskError;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, Shape};
use super::encoding::{Encoding, MAX_VALUE_BYTES, MAX_VALUES, MAX_WIDTH, Scale, Standard, Target};
use super::model::Model;
use super::network::{Network, tensor_error};
use super::table::{MAX_COLUMNS, MAX_NAME_BYTES, short};
use super::target::MAX_CLASSES;

/// The largest file that is opened; those that are trained here have a few hundred kilobytes.
pub(crate) const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// What the file is, for those who list artifacts.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.safetensors";
/// Raised whenever a file of before would be read wrongly.
const FORMAT: u32 = 1;
/// The one metadata key: of several, safetensors would write now one first and now another.
const KEY: &str = "aquatint.model";
/// The widest layer, and the most layers, that a file may ask for.
const MAX_LAYER: usize = 1024;
const MAX_LAYERS: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    architecture: Architecture,
    encoding: Encoding,
}

/// Writes a model.
///
/// # Errors
/// Fatal, class `tensor`, which would be a mistake in this program.
pub(crate) fn save(model: &Model) -> Result<Vec<u8>, TaskError> {
    let manifest = Manifest {
        format: FORMAT,
        architecture: model.network.architecture.clone(),
        encoding: model.encoding.clone(),
    };
    let manifest = serde_json::to_string(&manifest).expect("texts and numbers are always JSON");
    let mut tensors = Vec::new();
    for (name, tensor) in model.network.tensors() {
        let numbers: Vec<f32> = tensor
            .flatten_all()
            .and_then(|flat| flat.to_vec1())
            .map_err(tensor_error)?;
        let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        tensors.push((name.to_owned(), tensor.dims().to_vec(), bytes));
    }
    let views = tensors.iter().map(|(name, dims, bytes)| {
        let view = TensorView::new(Dtype::F32, dims.clone(), bytes);
        (name, view.expect("four bytes for each number"))
    });
    let metadata = HashMap::from([(KEY.to_owned(), manifest)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| {
        TaskError::fatal("tensor", format!("the model cannot be written: {error}"))
    })
}

/// Reads a model; `name` is the file's, for messages.
///
/// # Errors
/// Fatal, class `invalid_model`, with what is wrong.
pub(crate) fn load(name: &str, bytes: &[u8]) -> Result<Model, TaskError> {
    read(bytes).map_err(|why| {
        TaskError::fatal(
            "invalid_model",
            format!(
                "`{}` is no model that can be used: {why}; give a file that `model.train` stored",
                short(name)
            ),
        )
    })
}

fn read(bytes: &[u8]) -> Result<Model, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!(
            "it has {} bytes, and {MAX_BYTES} are read at most",
            bytes.len()
        ));
    }
    // Looks at lengths alone; numbers stay where they are.
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|error| format!("as safetensors: {error}"))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let manifest = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(KEY));
    let Some(manifest) = manifest else {
        return Err(format!("its header has no `{KEY}`"));
    };
    let manifest = parse(manifest)?;
    check_encoding(&manifest.encoding)?;
    check_architecture(&manifest.architecture)?;
    let shape = Shape {
        columns: manifest.encoding.widths(),
        outputs: manifest.encoding.target.outputs(),
    };
    let wanted = manifest.architecture.parameters(&shape);
    if tensors.len() != wanted.len() {
        return Err(format!(
            "it has {} tensors where its architecture has {}",
            tensors.len(),
            wanted.len()
        ));
    }
    let mut values = BTreeMap::new();
    for parameter in wanted {
        let name = parameter.name;
        let tensor = tensors
            .tensor(&name)
            .map_err(|_| format!("it lacks the tensor `{name}`"))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != parameter.dims {
            return Err(format!(
                "its tensor `{name}` is {:?} {:?} where F32 {:?} belongs",
                tensor.dtype(),
                tensor.shape(),
                parameter.dims
            ));
        }
        let numbers = tensor.data().chunks_exact(4);
        let numbers: Vec<f32> = numbers
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(format!(
                "its tensor `{name}` holds what is no finite number"
            ));
        }
        values.insert(name, (parameter.dims, numbers));
    }
    let network = Network::with(manifest.architecture, shape, values);
    Ok(Model {
        encoding: manifest.encoding,
        network: network.map_err(|error| error.message)?,
    })
}

fn parse(text: &str) -> Result<Manifest, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let wrong = |error: serde_json::Error| format!("its `{KEY}` cannot be read: {error}");
    let Format { format } = serde_json::from_str(text).map_err(wrong)?;
    if format != FORMAT {
        return Err(format!(
            "it has format {format}, and this program reads format {FORMAT}"
        ));
    }
    serde_json::from_str(text).map_err(wrong)
}

fn check_encoding(encoding: &Encoding) -> Result<(), String> {
    let features = &encoding.features;
    if features.is_empty() || features.len() > MAX_COLUMNS || encoding.ignored.len() > MAX_COLUMNS {
        return Err(format!("it has {} columns", features.len()));
    }
    let names = features.iter().map(|feature| &feature.name);
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.push(encoding.target.name());
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
        return Err(format!("it has two columns `{}`", short(twice[0])));
    }
    let all = names
        .into_iter()
        .chain(encoding.ignored.iter().map(String::as_str));
    for name in all {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(format!(
                "it has a column with a name of {} bytes",
                name.len()
            ));
        }
    }
    for feature in features {
        match &feature.scale {
            Scale::Number(standard) => check_standard(&feature.name, standard)?,
            Scale::Category { values } => check_values(&feature.name, values, 1, MAX_VALUES)?,
        }
    }
    if encoding.width() > MAX_WIDTH {
        return Err(format!("its columns become {} numbers", encoding.width()));
    }
    match &encoding.target {
        Target::Regression { name, standard } => {
            check_standard(name, standard)?;
            if standard.deviation == 0.0 {
                return Err(format!("its target `{}` never varied", short(name)));
            }
        }
        Target::Classification { name, classes } => check_values(name, classes, 2, MAX_CLASSES)?,
    }
    Ok(())
}

fn check_standard(name: &str, standard: &Standard) -> Result<(), String> {
    let Standard { mean, deviation } = standard;
    if mean.is_finite() && deviation.is_finite() && *deviation >= 0.0 {
        Ok(())
    } else {
        Err(format!(
            "`{}` has mean {mean} and deviation {deviation}",
            short(name)
        ))
    }
}

/// Texts that a search by halves can find, and as many as may be.
fn check_values(name: &str, values: &[String], least: usize, most: usize) -> Result<(), String> {
    let sorted = values.windows(2).all(|two| two[0] < two[1]);
    let fit = values.iter().all(|value| value.len() <= MAX_VALUE_BYTES);
    if sorted && fit && (least..=most).contains(&values.len()) {
        Ok(())
    } else {
        Err(format!(
            "the {} values of `{}` are not what training writes",
            values.len(),
            short(name)
        ))
    }
}

fn check_architecture(architecture: &Architecture) -> Result<(), String> {
    let layer = |width: &usize| (1..=MAX_LAYER).contains(width);
    let fine = match architecture {
        Architecture::Linear => true,
        Architecture::Mlp { hidden } => hidden.len() <= MAX_LAYERS && hidden.iter().all(layer),
        Architecture::Transformer {
            width,
            heads,
            layers,
            feed_forward,
        } => {
            layer(width)
                && layer(feed_forward)
                && layer(heads)
                && width.is_multiple_of(*heads)
                && *layers <= MAX_LAYERS
        }
    };
    if fine {
        Ok(())
    } else {
        Err(format!(
            "its architecture is beyond what is computed: {architecture:?}"
        ))
    }
}

#[cfg(test)]
mod tests;
