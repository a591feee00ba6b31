package telemetry

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// exports says which signals leave the process.
type exports struct{ metrics, traces bool }

// exportsFromEnv reads what the SDK does not decide by itself, and refuses what the SDK would only grumble about: with
// an endpoint that does not parse, for one, it would send to localhost instead.
func exportsFromEnv() (exports, error) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return exports{}, nil
	}
	metrics, err := exported("METRICS", "otlp", "prometheus", "none")
	if err != nil {
		return exports{}, err
	}
	traces, err := exported("TRACES", "otlp", "none")
	if err != nil {
		return exports{}, err
	}
	if traces {
		if err := checkSampler(); err != nil {
			return exports{}, err
		}
	}
	return exports{metrics: metrics, traces: traces}, nil
}

// exported decides for one signal. With no variable set the answer is no; the specification's default would be to
// send to localhost.
func exported(signal string, choices ...string) (bool, error) {
	endpoint := first("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	wanted := endpoint.value != ""
	if chosen := first("OTEL_" + signal + "_EXPORTER"); chosen.value != "" {
		wanted = false
		for choice := range strings.SplitSeq(chosen.value, ",") { // a list, by the specification
			choice = strings.TrimSpace(choice)
			if !slices.Contains(choices, choice) {
				return false, fmt.Errorf("%s=%q: supported are %s", chosen.name, choice, strings.Join(choices, ", "))
			}
			wanted = wanted || choice == "otlp"
		}
	}
	if !wanted {
		return false, nil
	}
	protocol := first("OTEL_EXPORTER_OTLP_"+signal+"_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if protocol.value != "" && protocol.value != "http/protobuf" {
		return false, fmt.Errorf("%s=%q: only http/protobuf is supported (collectors take it on port 4318)",
			protocol.name, protocol.value)
	}
	if endpoint.value != "" {
		// The error of url.Parse would repeat the whole URL, which may carry a password.
		u, err := url.Parse(endpoint.value)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return false, fmt.Errorf("%s must be a URL such as http://collector.example.com:4318", endpoint.name)
		}
	}
	return true, nil
}

// checkSampler refuses what the SDK would replace by sampling everything.
func checkSampler() error {
	sampler := first("OTEL_TRACES_SAMPLER")
	switch strings.ToLower(sampler.value) {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
		return nil
	case "traceidratio", "parentbased_traceidratio":
		arg := first("OTEL_TRACES_SAMPLER_ARG")
		if arg.value == "" {
			return nil
		}
		// Written so that NaN is refused as well.
		if ratio, err := strconv.ParseFloat(arg.value, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return fmt.Errorf("%s=%q: must be a number from 0 to 1", arg.name, arg.value)
		}
		return nil
	}
	return fmt.Errorf("%s=%q: supported are always_on, always_off, traceidratio and the same with parentbased_ before it",
		sampler.name, sampler.value)
}

type variable struct{ name, value string }

// first returns the first variable that is set, or the last one, empty. Empty and unset are the same, as the
// specification has it.
func first(names ...string) variable {
	var v variable
	for _, name := range names {
		if v = (variable{name, env(name)}); v.value != "" {
			break
		}
	}
	return v
}

func env(name string) string { return strings.TrimSpace(os.Getenv(name)) }
