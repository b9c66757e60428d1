//! Functions of SQL for what is no relational algebra. They call the functions of `uditsr`, and
//! depend on their arguments alone, so they may run anywhere.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, GenericStringArray, Int8Builder, Int64Array,
    ListArray, ListBuilder, PrimitiveArray, StringArray, StringBuilder, UInt32Builder,
};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Field};
use datafusion::arrow::datatypes::{Float64Type, Int64Type, UInt32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use uditsr::Split;
use uditsr::data::engine;

/// The number of a part in tables: 0 for training, 1 for validation, 2 for test.
pub(crate) fn part_number(part: Split) -> i8 {
    match part {
        Split::Train => 0,
        Split::Valid => 1,
        Split::Test => 2,
    }
}

/// All functions.
pub(crate) fn all() -> Vec<ScalarUDF> {
    use DataType::{Boolean, Float64, Int8, Int64, UInt32, Utf8};
    vec![
        // seed, user, item, query, seconds, share
        row("is_hidden", &[Utf8, Utf8, Utf8, Utf8, Int64, Float64], Boolean, is_hidden),
        // queries
        row("join_queries", &[list(Utf8)], Utf8, join_queries),
        // seconds, offset
        row("day_start", &[Int64, Int64], Int64, day_start),
        // seed, user, whether searches, rows; the two places are two halves of a number
        row("two_of", &[Utf8, Utf8, Boolean, Int64], Int64, two_of),
        // seed, user, items, shares of validation and test; a part for each item
        row("divide", &[Utf8, Utf8, list(Utf8), Float64, Float64], list(Int8), divide),
        // seed, user, item, query, seconds, known items, number of items, how many
        row(
            "negatives",
            &[Utf8, Utf8, Utf8, Utf8, Int64, list(UInt32), Int64, Int64],
            list(UInt32),
            negatives,
        ),
        row("plain_id", &[Utf8], Utf8, plain_id),
        row("word_count", &[Utf8], Int64, word_count),
        row("words", &[Utf8], list(Utf8), words),
    ]
}

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

/// A function of a row.
fn row(
    name: &str,
    inputs: &[DataType],
    output: DataType,
    function: fn(&[ArrayRef]) -> Result<ArrayRef>,
) -> ScalarUDF {
    let of_values = move |values: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        function(&arrays).map(ColumnarValue::Array)
    };
    create_udf(name, inputs.to_vec(), output, Volatility::Immutable, Arc::new(of_values))
}

fn text(array: &ArrayRef) -> &GenericStringArray<i32> {
    array.as_string::<i32>()
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> &PrimitiveArray<T> {
    array.as_primitive::<T>()
}

/// A seed as SQL has it: its 64 bits as digits in a string.
fn seed(array: &ArrayRef, row: usize) -> Result<u64> {
    let digits = text(array).value(row);
    digits.parse().map_err(|_| {
        DataFusionError::Execution(format!("expected a seed as digits, found `{digits}`"))
    })
}

fn is_hidden(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [seeds, users, items, queries, times, shares] = args else { return Err(count()) };
    let is_hidden = |row| -> Result<Option<bool>> {
        let event = [users, items, queries].map(|column| text(column).value(row));
        let time = numbers::<Int64Type>(times).value(row);
        let share = numbers::<Float64Type>(shares).value(row);
        Ok(Some(engine::is_hidden(seed(seeds, row)?, event, time, share)))
    };
    Ok(Arc::new((0..users.len()).map(is_hidden).collect::<Result<BooleanArray>>()?))
}

fn join_queries(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [lists] = args else { return Err(count()) };
    let join = |list: Option<ArrayRef>| {
        list.map(|list| engine::join_queries(text(&list).iter().flatten().collect()))
    };
    Ok(Arc::new(lists.as_list::<i32>().iter().map(join).collect::<StringArray>()))
}

fn day_start(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [times, offsets] = args else { return Err(count()) };
    let pairs =
        numbers::<Int64Type>(times).values().iter().zip(numbers::<Int64Type>(offsets).values());
    let days = pairs.map(|(&time, &offset)| engine::day_start(time, offset));
    Ok(Arc::new(Int64Array::from_iter_values(days)))
}

fn two_of(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [seeds, users, searches, rows] = args else { return Err(count()) };
    let draw = |row| {
        let is_search = searches.as_boolean().value(row);
        let rows = numbers::<Int64Type>(rows).value(row) as usize;
        let [valid, test] =
            engine::two_of(seed(seeds, row)?, text(users).value(row), is_search, rows);
        Ok(Some((valid as i64) << 32 | test as i64))
    };
    Ok(Arc::new((0..users.len()).map(draw).collect::<Result<Int64Array>>()?))
}

fn divide(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [seeds, users, lists, valids, tests] = args else { return Err(count()) };
    let mut parts = ListBuilder::new(Int8Builder::new());
    for row in 0..users.len() {
        let items = lists.as_list::<i32>().value(row);
        let items: Vec<&str> = text(&items).iter().flatten().collect();
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_unstable_by_key(|&item| (items[item].len(), items[item]));
        let shares = [valids, tests].map(|shares| numbers::<Float64Type>(shares).value(row));
        let [valid, test] = shares;
        let user = text(users).value(row);
        let drawn = engine::divide(seed(seeds, row)?, user, items.len(), valid, test);
        let mut of_item = vec![0; items.len()];
        for (&item, part) in order.iter().zip(drawn) {
            of_item[item] = part_number(part);
        }
        parts.values().append_slice(&of_item);
        parts.append(true);
    }
    Ok(Arc::new(parts.finish()))
}

fn negatives(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [seeds, users, items, queries, times, known, sizes, counts] = args else {
        return Err(count());
    };
    let mut drawn = ListBuilder::new(UInt32Builder::new());
    let mut negatives = Vec::new();
    for row in 0..users.len() {
        let known = known.as_list::<i32>().value(row);
        let mut known = numbers::<UInt32Type>(&known).values().to_vec();
        known.sort_unstable();
        let event = [users, items, queries].map(|column| text(column).value(row));
        let [time, size, count] =
            [times, sizes, counts].map(|column| numbers::<Int64Type>(column).value(row));
        if (size as usize).saturating_sub(known.len()) < count as usize {
            let found = size as usize - known.len().min(size as usize);
            let reason = format!("{count} negatives of {found} items");
            return Err(DataFusionError::Execution(reason));
        }
        negatives.resize(count as usize, 0);
        let seed = seed(seeds, row)?;
        engine::negatives(seed, event, time, &known, size as u32, &mut negatives);
        drawn.values().append_slice(&negatives);
        drawn.append(true);
    }
    Ok(Arc::new(drawn.finish()))
}

fn plain_id(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [ids] = args else { return Err(count()) };
    let plain = text(ids).iter().map(|id| id.map(engine::plain_id));
    Ok(Arc::new(plain.collect::<StringArray>()))
}

fn word_count(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts] = args else { return Err(count()) };
    let counts = text(texts).iter().map(|text| Some(uditsr::data::words(text?).len() as i64));
    Ok(Arc::new(counts.collect::<Int64Array>()))
}

fn words(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts] = args else { return Err(count()) };
    let mut words = ListBuilder::new(StringBuilder::new());
    for text in text(texts) {
        for word in uditsr::data::words(text.unwrap_or_default()) {
            words.values().append_value(word);
        }
        words.append(true);
    }
    let words: ListArray = words.finish();
    Ok(Arc::new(words))
}

/// The engine checks the numbers of arguments before.
fn count() -> DataFusionError {
    DataFusionError::Execution("wrong number of arguments".into())
}
