package policy

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/engine/policy/expression"
)

var update = flag.Bool("update", false, "rewrite the golden files and schema.json")

// Update tells the tests of package policy_test about the flag.
func Update() bool { return *update }

// TestSchemaIsCurrent generates the JSON schema from the types of types.go, their comments, and the constraints
// below, and compares it with schema.json.
func TestSchemaIsCurrent(t *testing.T) {
	t.Parallel()
	got := generate(t)
	if *update {
		if err := os.WriteFile("schema.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(got) != string(Schema()) {
		t.Errorf("schema.json is stale; run go generate. It should be\n%s", got)
	}
}

type object = map[string]any

func nameOf[T any](choices []choice[T]) []string {
	var names []string
	for _, c := range choices {
		names = append(names, c.name)
	}
	return names
}

// constraints are what the types don't say, by Type.Field or Type.
func constraints() map[string]object {
	requires := func(field string) object { return object{"required": []string{field}} }
	// either asks for exactly one of some fields.
	either := func(fields ...string) object {
		var all []object
		for _, f := range fields {
			all = append(all, requires(f))
		}
		return object{"oneOf": all}
	}
	// Flags may stand before the ^, such as (?i).
	const wholeText = `^(\(\?[isU]+\))?\^.*\$$`
	return map[string]object{
		"ImagePolicy.APIVersion": {"const": APIVersion},
		"ImagePolicy.Kind":       {"const": Kind},
		"Metadata.Name":          {"pattern": namePattern, "maxLength": maxName},
		"Spec":                   {"anyOf": []object{requires("tags"), requires("authorities"), requires("pin")}},
		"Spec.Namespaces":        {"minItems": 1, "items": object{"type": "string", "pattern": `^!?[-a-z0-9*]+$`, "maxLength": maxName + 1}},
		"Spec.Images":            {"minItems": 1},
		"Spec.Authorities":       {"minItems": 1, "maxItems": maxAuthorities},
		"Spec.Mode":              {"enum": nameOf(modes()), "default": modes()[0].name},
		"Spec.OnError":           {"enum": nameOf(onErrors()), "default": onErrors()[0].name},
		"Spec.Pin":               {"default": false},
		"Spec.AlwaysPullImages":  {"default": false},
		"Spec.UnchangedImages":   {"enum": nameOf(unchanged()), "default": unchanged()[0].name},
		"Spec.Message":           {"minLength": 1, "maxLength": maxMessage, "pattern": `^[^\n\r]*$`},
		"Image.Glob":             {"minLength": 1, "maxLength": maxPattern},
		"Tags":                   {"anyOf": []object{requires("deny"), requires("requireDigest")}},
		"Tags.Deny":              {"minItems": 1, "items": object{"type": "string", "pattern": `^[A-Za-z0-9_.*-]+$`, "maxLength": maxPattern}},
		"Tags.RequireDigest":     {"default": false},
		"Spec.Threshold":         {"minimum": 1, "maximum": maxAuthorities, "default": 1},
		"Spec.Platforms": {"oneOf": []object{
			{"enum": []string{platformsIndex, platformsOrEvery}},
			{"type": "array", "minItems": 1, "maxItems": maxPlatforms, "items": object{"type": "string", "pattern": platformPattern}},
		}, "default": platformsIndex},
		"Authority":                       {"oneOf": []object{requires("key"), requires("keys"), requires("keyless"), requires("certificate"), requires("static")}},
		"Authority.Keys":                  {"minItems": 1},
		"Authority.RequireReferenceMatch": {"default": false},
		"Authority.Attestations":          {"minItems": 1, "maxItems": maxAttestations},
		"Keyless.Identities": {"minItems": 1, "maxItems": maxIdentities, "items": object{
			"$ref": "#/$defs/Identity", "oneOf": []object{requires("issuer"), requires("issuerRegExp")},
		}},
		"Keyless.InsecureIgnoreSCT": {"default": false},
		"Certificate.Identities":    {"minItems": 1, "maxItems": maxIdentities},
		"Identity": {"allOf": []object{
			either("subject", "subjectRegExp"),
			{"not": object{"required": []string{"issuer", "issuerRegExp"}}},
		}},
		"Identity.Issuer":        {"minLength": 1, "maxLength": maxIdentityText},
		"Identity.Subject":       {"minLength": 1, "maxLength": maxIdentityText},
		"Identity.IssuerRegExp":  {"pattern": wholeText, "maxLength": maxIdentityText},
		"Identity.SubjectRegExp": {"pattern": wholeText, "maxLength": maxIdentityText},
		"Source":                 either("file", "data"),
		"Source.File":            {"minLength": 1},
		"TrustedRoot": {"oneOf": []object{requires("file"), requires("data"), requires("tuf"), {"anyOf": []object{
			requires("certificateAuthorities"), requires("ctLogs"), requires("tLogs"), requires("timestampAuthorities"),
		}}}},
		"TrustedRoot.File":                   {"minLength": 1},
		"TrustedRoot.CertificateAuthorities": {"minItems": 1, "maxItems": maxPieces},
		"TrustedRoot.CTLogs":                 {"minItems": 1, "maxItems": maxPieces},
		"TrustedRoot.TLogs":                  {"minItems": 1, "maxItems": maxPieces},
		"TrustedRoot.TimestampAuthorities":   {"minItems": 1, "maxItems": maxPieces},
		"CTLog.Required":                     {"default": true},
		"CTLog.Threshold":                    {"minimum": 1, "maximum": maxThreshold, "default": 1},
		"Timestamp.Threshold":                {"minimum": 1, "maximum": maxThreshold, "default": 1},
		"TUF.Mirror":                         {"pattern": `^https?://`},
		"Attestation.Name":                   {"pattern": namePattern, "maxLength": maxName},
		"Attestation.PredicateType":          {"anyOf": []object{{"enum": predicateNames()}, {"pattern": `^[a-z][a-z0-9+.-]*:`, "maxLength": maxPredicateType}}},
		"Attestation.Expression":             {"minLength": 1, "maxLength": expression.MaxText},
		"Authority.Name":                     {"pattern": namePattern, "maxLength": maxName},
		"Authority.Annotations":              {"minProperties": 1, "maxProperties": maxAnnotations},
		"Key":                                either("file", "data"),
		"Key.File":                           {"minLength": 1},
		"Key.Data":                           {"pattern": `^(env://[A-Za-z_][A-Za-z0-9_]*$|\s*-----BEGIN PUBLIC KEY-----)`},
		"Static.Action":                      {"enum": nameOf(actions())},
		"Cache.AllowTTL":                     {"default": strings.TrimSuffix(defaultAllowTTL.String(), "0s")},
		"Cache.DenyTTL":                      {"default": defaultDenyTTL.String()},
	}
}

func predicateNames() []string {
	var names []string
	for _, t := range predicateTypes() {
		names = append(names, t.name)
	}
	return names
}

// generate writes the schema of ImagePolicy.
func generate(t *testing.T) []byte {
	g := generator{t: t, comments: comments(t), constraints: constraints(), defs: object{}}
	root := g.object(reflect.TypeFor[ImagePolicy]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = Kind
	root["$defs"] = g.defs
	for unused := range g.constraints {
		t.Errorf("a constraint on %s, which is not there", unused)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

type generator struct {
	t           *testing.T
	comments    map[string]string
	constraints map[string]object
	defs        object
}

func (g *generator) constrain(s object, name string) {
	for k, v := range g.constraints[name] {
		s[k] = v
	}
	delete(g.constraints, name)
}

func (g *generator) object(typ reflect.Type) object {
	s := object{"type": "object", "additionalProperties": false, "description": g.comment(typ.Name())}
	properties, required := object{}, []string{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		property := g.schema(f.Type)
		switch {
		case hasOption(options, "many") && property["items"].(object)["type"] != "string":
			property = object{"anyOf": []object{property["items"].(object), property}}
		case hasOption(options, "many"):
			property = object{} // a constraint says what it is
		}
		path := typ.Name() + "." + f.Name
		if g.comments[path] == "" && f.Type.Kind() != reflect.Slice { // it is what its type is
			elem := f.Type
			if elem.Kind() == reflect.Pointer {
				elem = elem.Elem()
			}
			if elem.Kind() == reflect.Struct {
				g.comments[path] = g.comments[elem.Name()]
			}
		}
		property["description"] = g.comment(path)
		g.constrain(property, path)
		properties[name] = property
		if !hasOption(options, "omitempty") {
			required = append(required, name)
		}
	}
	s["properties"] = properties
	if len(required) > 0 {
		s["required"] = required
	}
	g.constrain(s, typ.Name())
	return s
}

func hasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

func (g *generator) schema(typ reflect.Type) object {
	if typ == reflect.TypeFor[time.Duration]() {
		return object{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return g.schema(typ.Elem())
	case reflect.Struct:
		if g.defs[typ.Name()] == nil {
			g.defs[typ.Name()] = g.object(typ)
		}
		ref := object{"$ref": "#/$defs/" + typ.Name()}
		for i := range typ.NumField() {
			if _, options, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ","); hasOption(options, "short") {
				return object{"anyOf": []object{{"type": "string", "minLength": 1}, ref}}
			}
		}
		return ref
	case reflect.Slice:
		return object{"type": "array", "items": g.schema(typ.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": g.schema(typ.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.String:
		return object{"type": "string"}
	}
	g.t.Fatalf("no schema for %s", typ)
	return nil
}

// comment returns the description of a type, without its name at the start, or of a field.
func (g *generator) comment(name string) string {
	text := g.comments[name]
	if text == "" {
		g.t.Errorf("types.go does not describe %s", name)
	}
	return text
}

// comments reads the comments of types.go, by Type and Type.Field.
func comments(t *testing.T) map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	add := func(name string, doc *ast.CommentGroup) {
		if doc != nil {
			found[name] = strings.Join(strings.Fields(doc.Text()), " ")
		}
	}
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			continue
		}
		for _, spec := range d.Specs {
			typ := spec.(*ast.TypeSpec)
			add(typ.Name.Name, d.Doc)
			for _, field := range typ.Type.(*ast.StructType).Fields.List {
				add(typ.Name.Name+"."+field.Names[0].Name, field.Doc)
			}
		}
	}
	return found
}
