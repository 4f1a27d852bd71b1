"""The words that the docstrings of both estimators share."""

PARAMETERS = """\
    hidden_layer_sizes : int or sequence of int, default=(100,)
        How many units each hidden layer has.
    activation : str, Activation or a sequence of them, default="relu"
        Of the hidden layers, or of each. "identity", "logistic", "tanh", "relu", or another of `nnaccel.activations`, such
        as "gelu", "silu", "elu" or "leaky_relu,slope=0.1".
    solver : {"adam", "sgd", "lbfgs", "adamw"}, default="adam"
        AdamW takes `weight_decay` off the weights apart from the gradient.
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights.
    batch_size : int or "auto", default="auto"
        Rows a step; "auto" is min(200, rows).
    learning_rate : str or Schedule, default="constant"
        "constant", "invscaling" or "adaptive", which the solver sgd alone follows, as in scikit-learn; or one of
        `nnaccel.schedules` for every stochastic solver, such as "cosine", "one_cycle" or "step,every=10"; "plateau" goes by the
        training loss.
    learning_rate_init : float, default=0.001
        The learning rate that a schedule multiplies.
    power_t : float, default=0.5
        The exponent of "invscaling".
    max_iter : int, default=200
        The most epochs, or iterations of lbfgs.
    shuffle : bool, default=True
        Whether each epoch takes the rows in another order.
    random_state : int, RandomState or None, default=None
        Draws the initial parameters, the validation set and the orders, as scikit-learn draws them.
    tol : float, default=1e-4
        An epoch counts as an improvement if the loss falls, or the validation score rises, by so much.
    verbose : bool, default=False
        Whether to print the loss of each epoch.
    warm_start : bool, default=False
        Whether `fit` begins with the parameters that the last one ended with.
    momentum : float, default=0.9
        Of the solver sgd.
    nesterovs_momentum : bool, default=True
        Whether that momentum is Nesterov's.
    early_stopping : bool, default=False
        Whether to watch the score on a validation set instead of the training loss, and to return to the best epoch.
    validation_fraction : float or splitter, default=0.1
        How much of the data becomes that set; or an object with the method `split`, such as `ShuffleSplit(1)`, whose
        first split it is.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Of the solvers adam and adamw.
    n_iter_no_change : int, default=10
        After more than so many epochs without improvement a fit stops, or lowers an "adaptive" learning rate.
    max_fun : int, default=15000
        How often lbfgs may compute the loss."""

FURTHER_PARAMETERS = """\
    weight_decay : float, default=0.01
        Of the solver adamw.
    dropout : float or sequence of float, default=0.0
        What part of each hidden layer's outputs training sets to zero, or of each layer's.
    clip_norm : float, optional
        The largest Euclidean norm of a step's gradient.
    scoring : str or callable, optional
        What early stopping watches: a name of `sklearn.metrics.get_scorer_names()`, or a scorer.
    callbacks : list of callable, optional
        Each is called with the estimator after each epoch; one that returns True ends the fit.
    time_limit : float, optional
        Seconds after which a fit stops, in the middle of an epoch if need be.
    resume : bool, default=False
        With `warm_start`: whether the optimizer goes on as well, with its velocities or moments, its count of steps, by which
        schedules go, and a learning rate that was lowered.
    backend : str, default="auto"
        "cpu", "numba", "cuda", or "auto" for the fastest that is here.
    dtype : {"float32", "float64"}, optional
        Of parameters and arithmetic; by default that of X.
    threads : int, optional
        The most threads to use.

    Notes
    -----
    A fitted estimator may predict in several threads at once, but not while it is fitted anew.

    Attributes
    ----------
    coefs_, intercepts_ : list of array
        Weights (inputs, units) and biases (units,) of each layer.
    n_iter_ : int
        Epochs of the last fit, or iterations.
    loss_ : float
        The last epoch's, penalty included.
    loss_curve_ : list of float
        That of each epoch, of the stochastic solvers.
    best_loss_ : float or None
        The least of them; None with early stopping.
    validation_scores_ : list of float or None
        One an epoch, with early stopping or an `eval_set`.
    best_validation_score_ : float or None
        The best of them, with early stopping.
    t_ : int
        How many rows all epochs have seen.
    n_layers_, n_outputs_, n_features_in_ : int
    feature_names_in_ : array of str
        Only if X had column names, all strings.
    out_activation_ : str"""
