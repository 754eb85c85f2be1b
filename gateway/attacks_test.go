package gateway_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// maker makes attacks of one sort from a source of randomness.
type maker struct {
	name string
	make func(r *rand.Rand) attack
}

const (
	deployments = "/apis/apps/v1/namespaces/default/deployments"
	target      = configMaps + "/target"

	goodDeployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":2,` +
		`"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"i",` +
		`"ports":[{"containerPort":80}],"env":[{"name":"A","value":"b"}]}]}}}}`
)

// The Content-Types of bodies.
var (
	asJSON      = []string{"Content-Type", "application/json"}
	asYAML      = []string{"Content-Type", "application/yaml"}
	asProtobuf  = []string{"Content-Type", "application/vnd.kubernetes.protobuf"}
	asJSONPatch = []string{"Content-Type", "application/json-patch+json"}
	asMerge     = []string{"Content-Type", "application/merge-patch+json"}
	asStrategic = []string{"Content-Type", "application/strategic-merge-patch+json"}
	asApply     = []string{"Content-Type", "application/apply-patch+yaml"}
)

// one picks an element.
func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// size is mostly small: a few large attacks show what many would, and this is
// to be over soon.
func size(r *rand.Rand, small, large int) int {
	if r.IntN(25) == 0 {
		return 1 + r.IntN(large)
	}
	return 1 + r.IntN(small)
}

// noise is n random bytes.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func post(path string, header []string, body string, codes ...int) attack {
	return attack{method: "POST", target: path, header: header, body: []byte(body), codes: codes}
}

func patch(header []string, body string, codes ...int) attack {
	path := target
	if header[1] == asApply[1] {
		path += "?fieldManager=hostile"
	}
	return attack{method: "PATCH", target: path, header: header, body: []byte(body), codes: codes}
}

func get(path string, codes ...int) attack { return attack{method: "GET", target: path, codes: codes} }

// named is a ConfigMap with a name.
func named(name string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"}}`, name)
}

func attackMakers() []maker {
	return append(append(bodyAttacks(), patchAttacks()...), requestAttacks()...)
}

// bodyAttacks are objects that are none.
func bodyAttacks() []maker {
	return []maker{
		{"truncated JSON", func(r *rand.Rand) attack {
			return post(deployments, asJSON, goodDeployment[:1+r.IntN(len(goodDeployment)-1)], 400)
		}},
		{"a byte of JSON replaced", func(r *rand.Rand) attack {
			b := []byte(goodDeployment)
			b[0] = one(r, byte(0), 'x', '[', '"', 0xff, ' ', '}')
			return post(deployments, asJSON, string(b), 400)
		}},
		{"wrong types", func(r *rand.Rand) attack {
			field := one(r, `"replicas":2`, `"name":"web"`, `"containerPort":80`, `"image":"i"`, `"kind":"Deployment"`, `"app":"web"`)
			key, _, _ := strings.Cut(field, ":")
			return post(deployments, asJSON, strings.Replace(goodDeployment, field, key+":"+one(r, `{}`, `[]`, `[[1]]`, `{"a":1}`, `true`, `[{}]`), 1), 400)
		}},
		{"numbers out of range", func(r *rand.Rand) attack {
			return post(deployments, asJSON, strings.Replace(goodDeployment, ":2", ":"+one(r, "1e400", "2147483648", "99999999999999999999", "1.5", "-0.1", "0x10", "--1"), 1), 400)
		}},
		{"deep JSON", func(r *rand.Rand) attack {
			n := size(r, 500, 20_000)
			return post(configMaps, asJSON, `{"metadata":{"name":"x"},"data":`+strings.Repeat(one(r, "[", `{"a":`), n)+strings.Repeat("]", r.IntN(n)), 400)
		}},
		{"deep YAML", func(r *rand.Rand) attack {
			return post(configMaps, asYAML, "metadata: {name: x}\ndata: "+strings.Repeat(one(r, "[", "{a: ", "- "), size(r, 300, 12_000)), 400)
		}},
		{"an alias bomb", func(r *rand.Rand) attack {
			return one(r,
				post(configMaps, asYAML, aliasBomb(10+size(r, 3, 20)), 400),
				attack{method: "PUT", target: target, header: asYAML, body: []byte(aliasBomb(12)), codes: []int{400}},
				patch(asApply, aliasBomb(10+r.IntN(10)), 400),
				attack{method: "DELETE", target: target, header: asYAML, body: []byte(aliasBomb(12)), codes: []int{400}})
		}},
		{"a YAML alias to itself", func(*rand.Rand) attack { return post(configMaps, asYAML, "a: &a\n  b: *a\n", 400) }},
		{"noise", func(r *rand.Rand) attack {
			return post(configMaps, one(r, asJSON, asYAML, asProtobuf), "\x00"+string(noise(r, r.IntN(2000))), 400)
		}},
		{"a Protobuf envelope of noise", func(r *rand.Rand) attack {
			return post(configMaps, asProtobuf, "k8s\x00\xff"+string(noise(r, r.IntN(500))), 400)
		}},
		{"a long name", func(r *rand.Rand) attack {
			return post(configMaps, asJSON, named(strings.Repeat("a", 253+size(r, 1000, 50_000))), 422)
		}},
		{"a name of megabytes", func(r *rand.Rand) attack {
			if r.IntN(20) > 0 {
				return attack{method: "GET", target: configMaps + "/" + strings.Repeat("a", size(r, 1000, 40_000)), codes: []int{404}}
			}
			return post(configMaps, asJSON, named(strings.Repeat("a", one(r, 4<<20, 10<<20))), 413)
		}},
		{"a bad name", func(r *rand.Rand) attack {
			return post(configMaps, asJSON, named(one(r, "\xff\xfe", "UPPER", "a/b", "..", ".", "a b", "-a", "a-", "é", "%2e", "a\\u0000b", "a\\nb", "{}")), 422)
		}},
		{"no name", func(r *rand.Rand) attack {
			return post(configMaps, asJSON, one(r, `{}`, named(""), `{"metadata":null}`), 422)
		}},
		{"not an object", func(r *rand.Rand) attack {
			return post(configMaps, asJSON, one(r, "[]", "null", "1", `"x"`, "true", "[{}]", " ", "\ufeff{}"), 400)
		}},
		{"another kind", func(r *rand.Rand) attack {
			return post(configMaps, asJSON, one(r, goodDeployment, `{"apiVersion":"v2","kind":"ConfigMap"}`, `{"kind":"Secret","apiVersion":"v1"}`, `{"apiVersion":"a/b/c","kind":"ConfigMap"}`), 400)
		}},
		{"another namespace", func(r *rand.Rand) attack {
			return post(configMaps, asJSON, `{"metadata":{"name":"x","namespace":"kube-system"}}`, 400)
		}},
		{"fields that are not, strictly", func(r *rand.Rand) attack {
			return post(configMaps+"?fieldValidation=Strict", asJSON, one(r, `{"metadata":{"name":"x"},"foo":1}`, `{"metadata":{"name":"x","name":"y"}}`, `{"metadata":{"name":"x","Name":"y"}}`), 400)
		}},
		{"wrong values", func(r *rand.Rand) attack {
			change := one(r, `"replicas":2`, `"containerPort":80`, `"name":"c"`, `"name":"A"`, `"image":"i"`)
			to := map[string]string{
				`"replicas":2`: `"replicas":-1`, `"containerPort":80`: `"containerPort":70000`, `"name":"c"`: `"name":"C_"`, `"name":"A"`: `"name":"="`, `"image":"i"`: `"image":""`,
			}
			return post(deployments, asJSON, strings.Replace(goodDeployment, change, to[change], 1), 422)
		}},
	}
}

// aliasBomb is YAML that grows tenfold with every level.
func aliasBomb(levels int) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: target}\na0: &a0 x\n")
	for i := range levels {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	return b.String()
}

// patchAttacks are patches of an object that is there.
func patchAttacks() []maker {
	return []maker{
		{"a JSON patch that is none", func(r *rand.Rand) attack {
			return patch(asJSONPatch, one(r, `{}`, `[1]`, `[[]]`, `null`, `"x"`, ``, `[`, `[{"op":1}]`, `[{"op":"add","path":5}]`, string(noise(r, 40))), 400)
		}},
		{"a JSON patch that cannot be applied", func(r *rand.Rand) attack {
			return patch(asJSONPatch, one(r,
				`[{}]`, `[null]`, `[{"op":"explode","path":"/data"}]`, `[{"op":"remove","path":"/none"}]`, `[{"op":"replace","path":"/data/none/x","value":1}]`,
				`[{"op":"test","path":"/data/k","value":"w"}]`, `[{"op":"copy","from":"/none","path":"/data/x"}]`, `[{"op":"move","from":"/none","path":"/data/x"}]`,
				`[{"op":"add","path":"data","value":1}]`, `[{"op":"add","path":"/metadata/managedFields/999999999","value":1}]`, `[{"op":"remove","path":""}]`,
				`[{"op":"test","path":"","value":null}]`, `[{"op":"add"}]`, `[{"op":"copy","path":"/data/x"}]`, `[{"op":"add","path":"/a/b/c/d","value":{}}]`), 400, 422)
		}},
		{"a JSON patch to something else", func(r *rand.Rand) attack {
			return patch(asJSONPatch, one(r, `[{"op":"replace","path":"","value":[]}]`, `[{"op":"replace","path":"/data","value":[1]}]`, `[{"op":"add","path":"/kind","value":"Secret"}]`, `[{"op":"replace","path":"/metadata","value":7}]`), 400, 422)
		}},
		{"too many operations", func(r *rand.Rand) attack {
			const op = `{"op":"test","path":"/data/k","value":"v"}`
			if r.IntN(25) > 0 {
				return patch(asJSONPatch, "["+strings.Repeat(op+",", 100)+`{"op":"test","path":"/data/k","value":"w"}]`, 422)
			}
			return patch(asJSONPatch, "["+strings.Repeat(op+",", 10_000)+op+"]", 413)
		}},
		{"copies that grow", func(r *rand.Rand) attack {
			n := size(r, 8, 40)
			ops := make([]string, n)
			for i := range ops {
				ops[i] = fmt.Sprintf(`{"op":"copy","from":"/metadata","path":"/metadata/x%d"}`, i)
			}
			return patch(asJSONPatch, "["+strings.Join(ops, ",")+`,{"op":"test","path":"/data/k","value":"never"}]`, 400, 413, 422)
		}},
		{"a merge patch that is none", func(r *rand.Rand) attack {
			return patch(asMerge, one(r, `[`, ``, `{`, `1`, `"x"`, `[]`, `[1]`, `{"data":[1]}`, `{"metadata":"x"}`, `{"data":{"k":{"a":1}}}`, `{"kind":"Pod"}`, string(noise(r, 30))), 400, 422)
		}},
		{"a deep merge patch", func(r *rand.Rand) attack {
			n := size(r, 400, 12_000)
			return patch(one(r, asMerge, asStrategic), `{"data":`+strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n+1), 400, 422)
		}},
		{"a strategic patch that is none", func(r *rand.Rand) attack {
			return patch(asStrategic, one(r,
				`[`, ``, `{`, `1`, `[]`, `{"$patch":"explode"}`, `{"data":{"$patch":5}}`, `{"metadata":{"$patch":["x"]}}`, `{"metadata":{"finalizers":"x"}}`,
				`{"metadata":{"ownerReferences":[{"name":"x"}]}}`, `{"metadata":{"ownerReferences":[1]}}`,
				`{"metadata":{"$setElementOrder/finalizers":7}}`,
				`{"data":{"$retainKeys":"x"}}`, `{"data":{"$retainKeys":[1],"k":"v"}}`), 400, 422)
		}},
		{"an apply that is none", func(r *rand.Rand) attack {
			return patch(asApply, one(r,
				`[`, ``, `a`, `[]`, `{}`, `{"apiVersion":"v1"}`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":5}`, `{"apiVersion":"v1","kind":"ConfigMap","data":5}`,
				`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"target","managedFields":[{}]}}`, `{"apiVersion":"v1","kind":"ConfigMap","foo":{}}`,
				`{"apiVersion":5,"kind":[]}`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other"}}`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":["x"]}}`), 400)
		}},
		{"a patch with a foreign precondition", func(r *rand.Rand) attack {
			return patch(one(r, asMerge, asStrategic), one(r, `{"metadata":{"resourceVersion":"1"}}`, `{"metadata":{"uid":"x"}}`, `{"metadata":{"resourceVersion":"x"}}`), 409)
		}},
		{"a patch of what never changes", func(r *rand.Rand) attack {
			return patch(one(r, asMerge, asStrategic), one(r, `{"metadata":{"name":"y"}}`, `{"metadata":{"namespace":"y"}}`, `{"metadata":{"creationTimestamp":"2020-01-01T00:00:00Z"}}`), 400, 422)
		}},
		{"a patch of an unknown type", func(r *rand.Rand) attack {
			return patch([]string{"Content-Type", one(r, "application/json", "text/plain", "x", "", ";;", "application/json-patch")}, `{}`, 415)
		}},
	}
}

// requestAttacks are requests that are wrong whatever their body.
func requestAttacks() []maker {
	return []maker{
		{"path tricks", func(r *rand.Rand) attack {
			return get(one(r,
				configMaps+"/..%2f..%2fsecrets%2fx", configMaps+"/%2e%2e", configMaps+"/.", configMaps+"/..", configMaps+"/a%2fb", configMaps+"/a%252fb", configMaps+"/%00",
				configMaps+"/%ff%fe", "/api/v1/namespaces/%2e%2e/configmaps/a", "/api/v1/namespaces/default%2fconfigmaps%2ftarget/configmaps/a", "/api/v1//configmaps/a",
				"/api/../api/v1/nodes/a", "/api/v1/namespaces/default/../../../apis/apps/v1/deployments/x", configMaps+"/a;b", configMaps+"/a%0d%0aX:%20y", configMaps+"/"+strings.Repeat("a", 20_000),
				configMaps+"/"+strings.Repeat("a/", 2000), "/api/v1/namespaces/"+strings.Repeat("%2e%2e%2f", 500)+"/configmaps/x", "/%", "/api/v1/%zz", "/api/v1/namespaces/a/b/c/d/e/f", configMaps+"/a:b",
				configMaps+"/target/status", configMaps+"/target/%2e%2e", "/apis/%2e%2e/v1/configmaps", "/openapi/v3/..%2f", configMaps+"/target:get"), 400, 404, 405)
		}},
		{"a method that is none", func(r *rand.Rand) attack {
			return attack{method: one(r, "PROPFIND", "TRACE", "OPTIONS", "BREW", "GETT"), target: one(r, configMaps, target, "/api/v1", "/healthz"), codes: []int{404, 405}}
		}},
		{"a method that the path has not", func(r *rand.Rand) attack {
			return one(r, attack{method: "PUT", target: configMaps, body: []byte("{}"), codes: []int{405}}, attack{method: "PATCH", target: configMaps, header: asMerge, body: []byte("{}"), codes: []int{405}},
				attack{method: "POST", target: target, body: []byte("{}"), codes: []int{405}}, attack{method: "DELETE", target: "/api/v1/namespaces", codes: []int{405}}, attack{method: "DELETE", target: "/version", codes: []int{405}})
		}},
		{"what is not there", func(r *rand.Rand) attack {
			return one(r, get("/api/v1/widgets", 404), get("/apis/none.example/v1/x", 404), get("/api/v9/pods", 404), get(configMaps+"/none", 404),
				attack{method: "DELETE", target: configMaps + "/none", codes: []int{404}}, attack{method: "PATCH", target: configMaps + "/none", header: asMerge, body: []byte("{}"), codes: []int{404}})
		}},
		{"a huge query", func(r *rand.Rand) attack {
			return get(configMaps+"?labelSelector="+escaped(strings.Repeat("a=b,", size(r, 100, 8000))+"=="), 400)
		}},
		{"a header flood", func(r *rand.Rand) attack {
			if r.IntN(20) > 0 {
				return attack{method: "GET", target: configMaps + "/none", header: flood(r, 300), codes: []int{404}}
			}
			return attack{method: "GET", target: target, header: flood(r, 3000), codes: []int{431}}
		}},
		{"an absurd limit", func(r *rand.Rand) attack {
			return get(configMaps+"?limit="+one(r, "x", "1e9", "99999999999999999999", "0x1", "1.5", "-9223372036854775809"), 400)
		}},
		{"a bad continue token", func(r *rand.Rand) attack {
			token := one(r, string(noise(r, 20)), base64.RawURLEncoding.EncodeToString(noise(r, 1+r.IntN(100))), base64.RawURLEncoding.EncodeToString([]byte(one(r,
				`{"rv":1,"after":""}`, `{"rv":"x"}`, `{}`, `[]`, `{"rv":5,"after":"/../x"}`, `{"v":"meta.k8s.io/v1","rv":5,"start":"../../secrets"}`))))
			return get(configMaps+"?limit=1&continue="+escaped(token), 400, 410)
		}},
		{"a bad Accept", func(r *rand.Rand) attack {
			return attack{method: "GET", target: target, header: []string{"Accept", one(r, "image/png", "application/json;as=Table;v=v9;g=meta.k8s.io", ";", "x/y;q=2", "application/json;as=Pod;v=v1;g=meta.k8s.io",
				strings.Repeat("a/b,", 200), "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "\"", "text/html;level=1")}, codes: []int{406}}
		}},
		{"a bad selector", func(r *rand.Rand) attack {
			if r.IntN(2) == 0 {
				return get(configMaps+"?fieldSelector="+escaped(one(r, "a", "spec.nope=1", "\xff", "a\x00=b", strings.Repeat("(", 5000), "/=b", "metadata.name", "status.phase!=x")), 400)
			}
			return get(configMaps+"?labelSelector="+escaped(one(r, "a===b", "x in (", "!!a", "a=b=c", "(", "a in (", "\xff", "a\x00=b", strings.Repeat("(", 5000), "/=b", "a b", "a=\u00e9", "a>x")), 400)
		}},
		{"a watch of garbage", func(r *rand.Rand) attack {
			return get(configMaps+"?watch=1&"+one(r, "resourceVersion=x", "resourceVersion=-1", "resourceVersion=1e9", "resourceVersionMatch=Exact&resourceVersion=1", "resourceVersionMatch=x", "sendInitialEvents=true",
				"sendInitialEvents=true&resourceVersionMatch=Exact", "timeoutSeconds=x", "fieldSelector=a.b%3Dc", "labelSelector=%3D%3D%3D", "sendInitialEvents=1&resourceVersionMatch=NotOlderThan&resourceVersion=abc"), 400, 422)
		}},
		{"a list of garbage", func(r *rand.Rand) attack {
			return get(configMaps+"?"+one(r, "resourceVersion=x", "resourceVersion=-1", "resourceVersionMatch=Exact", "resourceVersionMatch=x&resourceVersion=1", "sendInitialEvents=true", "timeoutSeconds=x", "resourceVersion=%ff"), 400, 422)
		}},
		{"bad options of a write", func(r *rand.Rand) attack {
			return post(configMaps+"?"+one(r, "dryRun=x", "dryRun=All&dryRun=x", "fieldValidation=x", "fieldManager="+strings.Repeat("a", 129), "fieldManager=%00", "fieldManager=%ff", "dryRun="), asJSON, named("x"), 400, 422)
		}},
		{"bad options of a delete", func(r *rand.Rand) attack {
			if r.IntN(2) == 0 {
				return attack{method: "DELETE", target: target + "?" + one(r, "propagationPolicy=x", "gracePeriodSeconds=x", "dryRun=x", "propagationPolicy=Orphan&orphanDependents=true"), codes: []int{400, 422}}
			}
			return attack{method: "DELETE", target: target, header: asJSON, codes: []int{400, 409, 422}, body: []byte(one(r, `[`, `[]`, `1`, `{"gracePeriodSeconds":"x"}`, `{"propagationPolicy":"x"}`,
				`{"preconditions":{"uid":"x"}}`, `{"preconditions":{"resourceVersion":"0"}}`, `{"dryRun":["x"]}`, `{"dryRun":"All"}`, `{"kind":"Pod","apiVersion":"v1"}`, `{"propagationPolicy":"Orphan","orphanDependents":true}`, string(noise(r, 20))))}
		}},
		{"a body of an unknown type", func(r *rand.Rand) attack {
			return post(configMaps, []string{"Content-Type", one(r, "text/csv", "x", "application/xml", ";", "application/json-patch+json", "multipart/form-data; boundary=x")}, named("x"), 415)
		}},
		{"an update of another", func(r *rand.Rand) attack {
			return attack{method: "PUT", target: target, header: asJSON, codes: []int{400, 409, 422}, body: []byte(one(r, named("other"), `{"metadata":{"name":"target","resourceVersion":"1"}}`, `{"metadata":{"name":"target","uid":"x"}}`,
				`{"metadata":{"name":"target","namespace":"other"}}`, `{"metadata":{"name":"target","resourceVersion":"abc"}}`, `{"metadata":{"name":"target","finalizers":["x y"]}}`, `{"metadata":{"name":"target","labels":{"a b":"c"}}}`))}
		}},
		{"an update of what is not there", func(r *rand.Rand) attack {
			return attack{method: "PUT", target: configMaps + "/none", header: asJSON, codes: []int{404}, body: []byte(named("none"))}
		}},
		{"acting as nobody", func(r *rand.Rand) attack {
			return attack{method: "GET", target: target, codes: []int{400, 401, 403}, header: one(r, []string{"Impersonate-Group", "system:masters"}, []string{"Impersonate-Uid", "1"}, []string{"Impersonate-User", "é"},
				[]string{"Impersonate-Extra-%zz", "x", "Impersonate-User", "a"}, []string{"Impersonate-User", "jane"})}
		}},
		{"a created object with a version", func(r *rand.Rand) attack {
			return post(configMaps, asJSON, `{"metadata":{"name":"x","resourceVersion":"5"}}`, 400)
		}},
		{"a name that is taken", func(r *rand.Rand) attack { return post(configMaps, asJSON, named("target"), 409) }},
	}
}

func flood(r *rand.Rand, n int) []string {
	out := make([]string, 0, 2*n)
	for i := range n {
		out = append(out, fmt.Sprintf("X-Flood-%d-%d", i, r.IntN(1000)), strings.Repeat("x", 40))
	}
	return out
}
