// A Fleetcast bundle forecasts without Python: raw telemetry from a CSV in, quantiles out, numbers the same.
//
//     build/forecast BUNDLE TELEMETRY.csv > forecasts.csv
//
// The CSV has the columns time (ISO 8601, UTC), entity_id, and signals by their names, such as power_w, without quotes. What
// it lacks is unknown to the model, which bears that. Repairing faulty samples and rolling servers up to racks is left out
// here: every entity whose targets are in the CSV is forecast from its own rows. Everything else, scaling and calibration
// included, is inside model.onnx.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <numbers>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>

namespace {

using nlohmann::json;
using Floats = std::vector<float>;

constexpr float unknown = std::numeric_limits<float>::quiet_NaN();

// The order of these names is the code of a level, from 1 on; 0 is unknown.
const std::vector<std::string> levels = {"gpu", "server", "rack", "row", "hall", "site", "fleet"};

struct Entity {
    std::string level, sku, time_zone;
    float power_limit_w = unknown, temperature_limit_c = unknown;
};

struct Bundle {
    long step_s, context_steps, horizon_steps;
    std::vector<std::string> targets, past, future, constants, skus;
    std::vector<double> quantile_levels;
    std::map<std::string, Entity> entities;
};

struct Sample {
    long step;  // number of its grid step since 1970
    Floats values;
};

using Telemetry = std::map<std::string, std::vector<Sample>>;

int code_of(const std::vector<std::string>& names, const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    return found == names.end() ? 0 : static_cast<int>(found - names.begin()) + 1;
}

float limit_of(const json& value) { return value.is_null() ? unknown : value.get<float>(); }

Bundle open_bundle(const std::string& folder) {
    const std::string path = folder + "/manifest.json";
    std::ifstream file(path);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    const json manifest = json::parse(file);
    const json& spec = manifest.at("spec");
    const json& topology = manifest.at("topology");
    Bundle bundle{spec.at("step_s"), spec.at("context_steps"), spec.at("horizon_steps"), spec.at("targets"),
                  spec.at("past"),   spec.at("future"),        spec.at("static"),        manifest.at("skus"),
                  spec.at("quantile_levels"), {}};
    for (std::size_t row = 0; row < topology.at("entity_id").size(); ++row) {
        bundle.entities[topology.at("entity_id")[row]] = {
            topology.at("level")[row], topology.at("sku")[row], topology.at("time_zone")[row],
            limit_of(topology.at("power_limit_w")[row]), limit_of(topology.at("temperature_limit_c")[row])};
    }
    return bundle;
}

std::vector<std::string> split(const std::string& line) {
    std::vector<std::string> cells;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    return cells;
}

// Seconds since 1970 of a time in UTC, such as 2026-04-01T12:05:00Z.
long seconds_of(const std::string& text) {
    std::tm time{};
    if (std::sscanf(text.c_str(), "%d-%d-%d%*c%d:%d:%d", &time.tm_year, &time.tm_mon, &time.tm_mday, &time.tm_hour,
                    &time.tm_min, &time.tm_sec) < 5)
        throw std::runtime_error("time '" + text + "' is not ISO 8601");
    time.tm_year -= 1900;
    time.tm_mon -= 1;
    return timegm(&time);
}

float number_of(const std::string& text) {
    float value = unknown;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

bool tells_a_target(const std::vector<Sample>& samples, std::size_t targets) {
    return std::any_of(samples.begin(), samples.end(), [&](const Sample& sample) {
        return std::any_of(sample.values.begin(), sample.values.begin() + targets,
                           [](float value) { return std::isfinite(value); });
    });
}

Telemetry read_telemetry(const std::string& path, const Bundle& bundle) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) throw std::runtime_error(path + ": cannot be read");
    const auto columns = split(line);
    Telemetry telemetry;
    while (std::getline(file, line)) {
        std::map<std::string, std::string> row;
        const auto cells = split(line);
        for (std::size_t at = 0; at < std::min(cells.size(), columns.size()); ++at) row[columns[at]] = cells[at];
        if (!bundle.entities.contains(row["entity_id"])) continue;
        Floats values;
        for (const auto& signal : bundle.past) values.push_back(number_of(row[signal]));
        telemetry[row["entity_id"]].push_back({seconds_of(row["time"]) / bundle.step_s, values});
    }
    std::erase_if(telemetry, [&](const auto& entry) { return !tells_a_target(entry.second, bundle.targets.size()); });
    if (telemetry.empty()) throw std::runtime_error(path + ": no row tells a target of an entity of this bundle");
    return telemetry;
}

// One entity's past [C, L]: the mean of each step's samples, NaN where there are none.
void append_past(Floats& out, const std::vector<Sample>& samples, long first, const Bundle& bundle) {
    const std::size_t steps = bundle.context_steps;
    std::vector<double> sums(bundle.past.size() * steps), counts(sums.size());
    for (const auto& sample : samples) {
        if (sample.step < first || sample.step >= first + bundle.context_steps) continue;
        for (std::size_t channel = 0; channel < sample.values.size(); ++channel) {
            if (std::isnan(sample.values[channel])) continue;
            const std::size_t cell = channel * steps + (sample.step - first);
            sums[cell] += sample.values[channel];
            counts[cell] += 1;
        }
    }
    for (std::size_t cell = 0; cell < sums.size(); ++cell) out.push_back(static_cast<float>(sums[cell] / counts[cell]));
}

// What is known ahead, [F, H]: the local time of day and week as waves; what a clock does not tell is unknown.
void append_future(Floats& out, long first, const std::string& time_zone, const Bundle& bundle) {
    setenv("TZ", time_zone.c_str(), 1);
    tzset();
    for (const auto& name : bundle.future) {
        for (long step = first; step < first + bundle.horizon_steps; ++step) {
            const std::time_t seconds = step * bundle.step_s;
            std::tm local{};
            localtime_r(&seconds, &local);
            const double day = (local.tm_hour + local.tm_min / 60.0 + local.tm_sec / 3600.0) / 24;
            const double week = ((local.tm_wday + 6) % 7 + day) / 7;  // from Monday on
            const double turn = 2 * std::numbers::pi * (name.starts_with("day") ? day : week);
            const bool wave = name == "day_sin" || name == "day_cos" || name == "week_sin" || name == "week_cos";
            const double value = name.ends_with("sin") ? std::sin(turn) : std::cos(turn);
            out.push_back(wave ? static_cast<float>(value) : unknown);
        }
    }
}

// What is constant of an entity, [S]: limits, codes from 1 on; NaN and 0 are unknown.
void append_constants(Floats& out, const Entity& entity, const Bundle& bundle) {
    for (const auto& name : bundle.constants) {
        if (name == "power_limit_w") out.push_back(entity.power_limit_w);
        else if (name == "temperature_limit_c") out.push_back(entity.temperature_limit_c);
        else if (name == "level_code") out.push_back(static_cast<float>(code_of(levels, entity.level)));
        else if (name == "sku_code") out.push_back(static_cast<float>(code_of(bundle.skus, entity.sku)));
        else out.push_back(unknown);
    }
}

Ort::Value tensor(Floats& data, std::vector<std::int64_t> shape) {
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return Ort::Value::CreateTensor<float>(memory, data.data(), data.size(), shape.data(), shape.size());
}

// Quantiles [B, T, Q, H] as CSV: a line per entity and step, a column per target and level.
void print(const Telemetry& telemetry, long first, const float* quantiles, const Bundle& bundle) {
    std::printf("entity_id,valid_time");
    for (const auto& target : bundle.targets)
        for (const double level : bundle.quantile_levels) std::printf(",%s_p%g", target.c_str(), level * 100);
    std::printf("\n");
    const std::size_t columns = bundle.targets.size() * bundle.quantile_levels.size(), steps = bundle.horizon_steps;
    std::size_t entity = 0;
    for (const auto& [id, _] : telemetry) {
        for (std::size_t at = 0; at < steps; ++at) {
            const std::time_t seconds = (first + static_cast<long>(at)) * bundle.step_s;
            std::array<char, 32> time{};
            std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&seconds));
            std::printf("%s,%s", id.c_str(), time.data());
            for (std::size_t column = 0; column < columns; ++column)
                std::printf(",%.9g", static_cast<double>(quantiles[(entity * columns + column) * steps + at]));
            std::printf("\n");
        }
        ++entity;
    }
}

void forecast(const std::string& folder, const std::string& csv) {
    const Bundle bundle = open_bundle(folder);
    const Telemetry telemetry = read_telemetry(csv, bundle);
    long newest = std::numeric_limits<long>::min();
    for (const auto& [_, samples] : telemetry)
        for (const auto& sample : samples) newest = std::max(newest, sample.step);
    const long origin = newest + 1;  // the first step that is forecast
    Floats past, future, constants;
    for (const auto& [id, samples] : telemetry) {
        const Entity& entity = bundle.entities.at(id);
        append_past(past, samples, origin - bundle.context_steps, bundle);
        append_future(future, origin, entity.time_zone, bundle);
        append_constants(constants, entity, bundle);
    }
    const auto size = [](const auto& list) { return static_cast<std::int64_t>(list.size()); };
    std::vector<Ort::Value> inputs;
    inputs.push_back(tensor(past, {size(telemetry), size(bundle.past), bundle.context_steps}));
    inputs.push_back(tensor(future, {size(telemetry), size(bundle.future), bundle.horizon_steps}));
    inputs.push_back(tensor(constants, {size(telemetry), size(bundle.constants)}));
    const Ort::Env environment(ORT_LOGGING_LEVEL_WARNING);
    Ort::Session session(environment, (folder + "/model.onnx").c_str(), Ort::SessionOptions{});
    const std::array input_names = {"past", "future", "static"};
    const std::array output_names = {"quantiles"};
    const auto outputs =
        session.Run(Ort::RunOptions{}, input_names.data(), inputs.data(), inputs.size(), output_names.data(), 1);
    print(telemetry, origin, outputs[0].GetTensorData<float>(), bundle);
}

}  // namespace

int main(int count, char** words) {
    if (count != 3) {
        std::cerr << "usage: forecast BUNDLE TELEMETRY.csv\n";
        return 2;
    }
    try {
        forecast(words[1], words[2]);
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << "\n";
        return 1;
    }
}
