package apiservice

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// authenticationName is the ConfigMap, in kube-system, from which API servers
// learn whom to believe.
const authenticationName = "extension-apiserver-authentication"

// AuthenticationConfig is what other API servers are told about those who call
// them.
type AuthenticationConfig struct {
	// ClientCA is the PEM bundle of the authorities of users' certificates.
	ClientCA []byte
	// FrontProxyCA is the PEM bundle of the authorities of the front proxy's
	// certificate, FrontProxyNames are the common names that it may have; none: any.
	FrontProxyCA    []byte
	FrontProxyNames []string
}

// data returns what is published.
func (c AuthenticationConfig) data() (map[string]string, error) {
	data := make(map[string]string)
	if len(c.ClientCA) > 0 {
		data["client-ca-file"] = string(c.ClientCA)
	}
	if len(c.FrontProxyCA) == 0 {
		return data, nil
	}
	data["requestheader-client-ca-file"] = string(c.FrontProxyCA)
	for key, values := range map[string][]string{
		"requestheader-allowed-names":        c.FrontProxyNames,
		"requestheader-username-headers":     {"X-Remote-User"},
		"requestheader-uid-headers":          {"X-Remote-Uid"},
		"requestheader-group-headers":        {"X-Remote-Group"},
		"requestheader-extra-headers-prefix": {"X-Remote-Extra-"},
	} {
		if values == nil {
			values = []string{}
		}
		text, err := json.Marshal(values)
		if err != nil {
			return nil, err
		}
		data[key] = string(text)
	}
	return data, nil
}

type authentication struct {
	client *client.Client
	maps   *client.Informer[*corev1.ConfigMap]
	data   map[string]string
}

// NewAuthentication returns the controller that publishes whom API servers are
// to believe. Its key names the ConfigMap.
func NewAuthentication(deps runner.Deps, config AuthenticationConfig) (*runner.Controller, error) {
	data, err := config.data()
	if err != nil {
		return nil, err
	}
	configMaps, err := client.InformerFor[*corev1.ConfigMap](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &authentication{client: deps.Client, maps: configMaps, data: data}
	var c *runner.Controller
	c = runner.New("extensionauthentication", r, deps, runner.Options{Trace: configMaps.TraceContext, Background: func(context.Context) {
		c.Enqueue(metav1.NamespaceSystem + "/" + authenticationName)
	}})
	runner.Watch(c, configMaps, runner.Input[*corev1.ConfigMap]{Keys: func(m *corev1.ConfigMap) []string {
		if m.Namespace != metav1.NamespaceSystem || m.Name != authenticationName {
			return nil
		}
		return runner.Self(m)
	}})
	return c, nil
}

// Reconcile writes what is missing. What else the ConfigMap holds is left alone.
func (r *authentication) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	have, ok := r.maps.GetByKey(key)
	if !ok {
		fresh := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: authenticationName}, Data: maps.Clone(r.data)}
		err := r.client.Create(ctx, fresh)
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return runner.Done(), fmt.Errorf("publish whom API servers are to believe: %w", err)
		}
		return runner.Done(), nil
	}
	changed := have.DeepCopy()
	if changed.Data == nil {
		changed.Data = make(map[string]string)
	}
	maps.Copy(changed.Data, r.data)
	if maps.Equal(have.Data, changed.Data) {
		return runner.Done(), nil
	}
	err := r.client.Update(ctx, changed)
	if err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("publish whom API servers are to believe: %w", err)
	}
	return runner.Done(), nil
}
