package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// TestSchemaAccepts holds the examples, which load, against the schema.
func TestSchemaAccepts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "examples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	s := readSchema(t)
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(src), "\n---\n") {
			if doc := plainData(t, part); doc != nil && doc.(map[string]any)["apiVersion"] == APIVersion {
				if err := s.check("$", s.root, doc); err != nil {
					t.Errorf("%s, document %d: %v", file, i+1, err)
				}
			}
		}
	}
	for _, authority := range []string{
		"{key: a.pub}",
		"{keys: [a.pub, {file: b.pub}, {data: env://KEY}]}",
		"{keyless: {identities: [{issuer: https://a, subject: b}], trustedRoot: a.json}}",
		"{keyless: {identities: [{issuerRegExp: ^a$, subjectRegExp: (?i)^a$}], trustedRoot: [{tuf: {}}, {data: env://ROOT}]}}",
		"{certificate: {identities: [{subject: b}], roots: a.pem}, ctlog: {trustedRoot: {tLogs: [{key: a.pub}]}}}",
	} {
		if err := s.authority(t, authority); err != nil {
			t.Errorf("%s: %v", authority, err)
		}
	}
}

// TestSchemaRefuses lists mistakes that an editor is to find by the schema.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	s := readSchema(t)
	keyless := func(identity string) string {
		return "{keyless: {identities: [" + identity + "], trustedRoot: a.json}}"
	}
	root := func(root string) string {
		return "{key: a.pub, ctlog: {trustedRoot: " + root + "}}"
	}
	for _, authority := range []string{
		keyless("{}"),
		keyless("{subject: a}"),
		keyless("{issuer: https://a}"),
		keyless("{issuer: https://a, issuerRegExp: ^a$, subject: a}"),
		keyless("{issuer: https://a, subjectRegExp: ^a$, subject: a}"),
		keyless("{issuer: https://a, subjectRegExp: ^a}"),
		keyless("{issuer: https://a, subjectRegExp: a$}"),
		keyless("{issuerRegExp: a, subject: a}"),
		"{certificate: {identities: [{}], roots: a.pem}}",
		"{certificate: {identities: [{issuer: a}], roots: a.pem}}",
		"{certificate: {identities: [{issuer: a, issuerRegExp: ^a$, subject: a}], roots: a.pem}}",
		"{certificate: {identities: [{subject: a}], roots: {}}}",
		"{certificate: {identities: [{subject: a}], roots: {file: a, data: b}}}",
		"{key: {}}",
		"{key: ''}",
		"{key: a.pub, keys: [a.pub]}",
		root("{}"),
		root("{file: a, data: b}"),
		root("{file: a, tuf: {}}"),
		root("{file: a, tLogs: [{key: a.pub}]}"),
		root("{tuf: {}, tLogs: [{key: a.pub}]}"),
		root("{tLogs: []}"),
		root("{tLogs: [{}]}"),
	} {
		if err := s.authority(t, authority); err == nil {
			t.Errorf("the schema accepts %s", authority)
		}
	}
}

// judge knows the keywords of JSON schema that this one has.
type judge struct{ root, defs object }

func readSchema(t *testing.T) judge {
	t.Helper()
	var root object
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	return judge{root, root["$defs"].(object)}
}

func plainData(t *testing.T, text string) any {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func (s judge) authority(t *testing.T, text string) error {
	t.Helper()
	return s.check("authority", s.defs["Authority"].(object), plainData(t, text))
}

// check tells where a value is not as a schema says. A keyword that it does not know is an error too.
func (s judge) check(at string, of object, value any) error {
	for _, keyword := range slices.Sorted(maps.Keys(of)) {
		if err := s.keyword(at, of, keyword, value); err != nil {
			return err
		}
	}
	return nil
}

func (s judge) keyword(at string, of object, keyword string, value any) error {
	fields, isObject := value.(map[string]any)
	items, isList := value.([]any)
	text, isText := value.(string)
	bound := func(n int) error {
		limit := int(of[keyword].(float64))
		if strings.HasPrefix(keyword, "max") && n > limit || strings.HasPrefix(keyword, "min") && n < limit {
			return fmt.Errorf("%s: %s %d", at, keyword, limit)
		}
		return nil
	}
	switch keyword {
	case "$schema", "$defs", "title", "description", "default":
	case "$ref":
		return s.check(at, s.defs[strings.TrimPrefix(of[keyword].(string), "#/$defs/")].(object), value)
	case "type":
		is := map[string]bool{"object": isObject, "array": isList, "string": isText}
		_, is["boolean"] = value.(bool)
		_, is["integer"] = value.(uint64)
		if !is[of[keyword].(string)] {
			return fmt.Errorf("%s is not of type %s", at, of[keyword])
		}
	case "const":
		if value != of[keyword] {
			return fmt.Errorf("%s is not %s", at, of[keyword])
		}
	case "enum":
		if !slices.ContainsFunc(of[keyword].([]any), func(v any) bool { return reflect.DeepEqual(v, value) }) {
			return fmt.Errorf("%s is none of %s", at, of[keyword])
		}
	case "pattern":
		if isText && !regexp.MustCompile(of[keyword].(string)).MatchString(text) {
			return fmt.Errorf("%s does not match %s", at, of[keyword])
		}
	case "minLength", "maxLength":
		if isText {
			return bound(utf8.RuneCountInString(text))
		}
	case "minItems", "maxItems":
		if isList {
			return bound(len(items))
		}
	case "minProperties", "maxProperties":
		if isObject {
			return bound(len(fields))
		}
	case "minimum", "maximum":
		if n, ok := value.(uint64); ok {
			return bound(int(n))
		}
	case "required":
		for _, name := range of[keyword].([]any) {
			if _, ok := fields[name.(string)]; isObject && !ok {
				return fmt.Errorf("%s has no %s", at, name)
			}
		}
	case "items":
		for i, item := range items {
			if err := s.check(fmt.Sprintf("%s[%d]", at, i), of[keyword].(object), item); err != nil {
				return err
			}
		}
	case "properties":
		for name, property := range of[keyword].(object) {
			if v, ok := fields[name]; ok {
				if err := s.check(at+"."+name, property.(object), v); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		known, _ := of["properties"].(object)
		for name, v := range fields {
			more, isSchema := of[keyword].(object)
			if _, ok := known[name]; ok {
				continue
			}
			if !isSchema {
				return fmt.Errorf("%s has a field %s", at, name)
			}
			if err := s.check(at+"."+name, more, v); err != nil {
				return err
			}
		}
	case "not":
		if s.check(at, of[keyword].(object), value) == nil {
			return fmt.Errorf("%s is what it must not be", at)
		}
	case "allOf", "anyOf", "oneOf":
		return s.several(at, keyword, of[keyword].([]any), value)
	default:
		return fmt.Errorf("%s: the keyword %s is not known", at, keyword)
	}
	return nil
}

// several counts the schemas that a value fulfils.
func (s judge) several(at, keyword string, all []any, value any) error {
	n, why := 0, error(nil)
	for _, one := range all {
		if err := s.check(at, one.(object), value); err != nil {
			why = err
		} else {
			n++
		}
	}
	if keyword == "allOf" && n < len(all) || keyword == "anyOf" && n == 0 || keyword == "oneOf" && n != 1 {
		return fmt.Errorf("%s: %s has %d of %d: %w", at, keyword, n, len(all), why)
	}
	return nil
}
