package apiservice_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/apiservice"
	"navarch.dev/navarch/services/controller/controllertest"
)

func TestAPIServersAreToldWhomToBelieve(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "other"}})
	c.Start(c.Controller(apiservice.NewAuthentication(c.Deps, apiservice.AuthenticationConfig{
		ClientCA: []byte("users"), FrontProxyCA: []byte("proxies"), FrontProxyNames: []string{"front-proxy-client"},
	})))
	want := map[string]string{
		"client-ca-file": "users", "requestheader-client-ca-file": "proxies", "requestheader-allowed-names": `["front-proxy-client"]`,
		"requestheader-username-headers": `["X-Remote-User"]`, "requestheader-uid-headers": `["X-Remote-Uid"]`,
		"requestheader-group-headers": `["X-Remote-Group"]`, "requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
	published := func(more string) func([]*corev1.ConfigMap) bool {
		return func(all []*corev1.ConfigMap) bool {
			for _, m := range all {
				if m.Name == "extension-apiserver-authentication" && m.Namespace == "kube-system" && m.Data["more"] == more && holds(m.Data, want) {
					return true
				}
			}
			return false
		}
	}
	controllertest.Await(c, "all of it", published(""))
	changed := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"},
		Data:       map[string]string{"client-ca-file": "others", "more": "kept"},
	}
	if err := c.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "all of it again, and what somebody added", published("kept"))
}

func holds(data, want map[string]string) bool {
	for key, value := range want {
		if data[key] != value {
			return false
		}
	}
	return true
}
