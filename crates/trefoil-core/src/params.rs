//! Parameters by name: the path of a field inside a module, joined by dots, is its checkpoint key.

use std::cell::RefCell;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::weights::Weight;

/// All float parameters in the order of declaration, as f32.
pub fn export<M: Module>(module: &M) -> Vec<(String, TensorData)> {
    walk(module, Values)
}

/// Names and shapes of all float parameters in the order of declaration.
pub fn shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    walk(module, Shapes)
}

/// Names and shapes of the parameters that may be held in fewer bits, in the order of declaration: those that are
/// called `weight` in a linear layer, a convolution or a table.
pub fn weights<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    /// The types of the layers that read such weights.
    const LAYERS: [&str; 4] =
        ["Struct:Linear", "Struct:Conv1d", "Struct:Conv2d", "Struct:Embedding"];
    struct Visitor {
        path: Vec<String>,
        containers: Vec<String>,
        found: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.push(name.to_string());
            self.containers.push(container.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
            self.containers.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let is_weight = self.path.last().is_some_and(|name| name == "weight");
            let is_layer = self.containers.last().is_some_and(|c| LAYERS.contains(&c.as_str()));
            if is_weight && is_layer {
                self.found.push((self.path.join("."), param.lazy_shape().to_vec()));
            }
        }
    }
    let mut visitor = Visitor { path: Vec::new(), containers: Vec::new(), found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// The gradient of every parameter in the order of declaration, as f32; zeros where none flowed.
///
/// They are taken over, so that those on the CPU need not be copied.
pub fn gradients<M: Module>(module: &M, grads: Gradients) -> Vec<(String, TensorData)> {
    walk(module, Grads(RefCell::new(grads)))
}

/// What is asked of each parameter.
trait Ask {
    type Answer;
    fn ask<const D: usize>(&self, param: &Param<Tensor<D>>) -> Self::Answer;
}

struct Values;
struct Shapes;
struct Grads(RefCell<Gradients>);

impl Ask for Values {
    type Answer = TensorData;
    fn ask<const D: usize>(&self, param: &Param<Tensor<D>>) -> TensorData {
        trefoil_kernels::widen(param.val()).into_data().convert_dtype(DType::F32)
    }
}

impl Ask for Shapes {
    type Answer = Vec<usize>;
    fn ask<const D: usize>(&self, param: &Param<Tensor<D>>) -> Vec<usize> {
        param.lazy_shape().to_vec()
    }
}

impl Ask for Grads {
    type Answer = TensorData;
    fn ask<const D: usize>(&self, param: &Param<Tensor<D>>) -> TensorData {
        let value = param.val();
        match value.grad_remove(&mut self.0.borrow_mut()) {
            Some(grad) => grad.into_data().convert_dtype(DType::F32),
            None => TensorData::zeros::<f32, _>(value.dims()),
        }
    }
}

/// Asks every float parameter, in the order of declaration.
fn walk<M: Module, A: Ask>(module: &M, ask: A) -> Vec<(String, A::Answer)> {
    struct Visitor<A: Ask> {
        path: Vec<String>,
        ask: A,
        out: Vec<(String, A::Answer)>,
    }
    impl<A: Ask> ModuleVisitor for Visitor<A> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.out.push((self.path.join("."), self.ask.ask(param)));
        }
    }
    let mut visitor = Visitor { path: Vec::new(), ask, out: Vec::new() };
    module.visit(&mut visitor);
    visitor.out
}

/// Replaces every float parameter by what `source` returns for its name and shape.
///
/// Parameters stay on their device and keep their identity and whether they ask for a gradient.
///
/// # Errors
/// The first error of `source`, or [`Error::Config`] when it returns another shape.
pub fn import<M: Module, W: Into<Weight>>(
    module: M,
    source: &mut dyn FnMut(&str, &[usize]) -> Result<W>,
) -> Result<M> {
    struct Mapper<'a, W> {
        path: Vec<String>,
        source: &'a mut dyn FnMut(&str, &[usize]) -> Result<W>,
        error: Option<Error>,
    }
    impl<W: Into<Weight>> ModuleMapper for Mapper<'_, W> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if self.error.is_some() {
                return param;
            }
            let name = self.path.join(".");
            let shape = param.lazy_shape().to_vec();
            match (self.source)(&name, &shape).map(Into::into) {
                // A parameter that was never made is not made to be replaced.
                Ok(weight) if weight.shape() == shape && weight.is_narrow() => {
                    let tensor = weight.into_tensor(&param.lazy_device());
                    // Gradients do not flow into what has so few bits.
                    Param::initialized(param.id, tensor)
                }
                Ok(Weight::Floats(data)) if data.shape().to_vec() == shape => {
                    if !param.is_initialized() {
                        let tensor = Tensor::from_data(data, &param.lazy_device());
                        return Param::initialized(param.id, tensor).set_require_grad(true);
                    }
                    param.map(|old| {
                        let device = old.device();
                        let tracked = old.is_require_grad();
                        Tensor::from_data(data, &device).set_require_grad(tracked)
                    })
                }
                Ok(weight) => {
                    let reason = format!("expected shape {shape:?}, found {:?}", weight.shape());
                    self.error = Some(Error::config(name, reason));
                    param
                }
                Err(error) => {
                    self.error = Some(error);
                    param
                }
            }
        }
    }
    let mut mapper = Mapper { path: Vec::new(), source, error: None };
    let module = module.map(&mut mapper);
    match mapper.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}
